import { existsSync } from 'node:fs'
import { describe, expect, test, vi } from 'vitest'
import type { Report } from '../src/core/report.js'
import { begin, imports, makePlace, until, untilClean } from './support/deaths.js'
import { type Ended, nodeMajor, type ProgramOptions, prelude, run, runAndKill, start } from './support/program.js'
import { isAlive } from './support/supervise.js'

// Those that wait are run beside each other; how busy the machine is counts for the others.
vi.setConfig({ maxConcurrency: 2 })

/** What each thread begins with; each line says in which thread it was said. */
const head = (faces = prelude) => `${faces}
import { once } from 'node:events'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
const tell = (text) => say((isMainThread ? 'M ' : 'W ') + text)
const begin = (options) => {
  const worker = new Worker(new URL(import.meta.url), options)
  return worker.on('exit', (code) => tell('W exit ' + code)).on('error', ({ message }) => tell('W error ' + message))
}
const hooks = () => {
  onExit(() => tell('old'), { name: 'old' })
  onExit(async () => { await sleep(5); tell('slow') }, { name: 'slow' })
  onExit(() => tell('new'), { name: 'new' })
}
`
/** Main registers `old`, starts W, registers `new` once W has its hooks, and does something. */
const both = (main: string, worker = 'hooks(); hold()', options = '{}') => `${head()}
if (isMainThread) {
  onExit(() => tell('old'), { name: 'old' })
  const worker = begin(${options})
  await once(worker, 'message')
  onExit(() => tell('new'), { name: 'new' })
  ${main}
} else {
  ${worker}
  parentPort.postMessage('up')
}`
const soon = (statement: string) => `hooks(); setTimeout(() => { ${statement} }, 1); hold()`

const ofW = ['W new', 'W slow', 'W old']
const ended = (code: number) => `M W exit ${code}`
/** W ends first, and main by itself later. */
const wThenM = (...between: string[]) => [...ofW, ...between, 'M new', 'M old']
/** Main leaves, and W's hooks run where W was started. */
const mAroundW = ['M new', ...ofW, ended(1), 'M old']

interface StoppedThread {
  thread: number
  blocked?: true
  terminated?: true
  report?: Report
}

const threadsIn = ({ report }: Ended) =>
  report?.hooks.flatMap(({ name, result }) => (name === 'threads' ? (result as StoppedThread[]) : []))

interface Way {
  way: string
  main?: string
  worker?: string
  options?: ProgramOptions
  kill?: NodeJS.Signals
  lines: string[]
  code?: number | null
  signal?: NodeJS.Signals
  stderr?: RegExp | ''
  /** W was stopped by main's exit, so main's report has it. */
  isStopped?: boolean
  /** Node's major version. */
  since?: number
}

const leavesMain = (way: Partial<Way> & Pick<Way, 'way'>): Way => ({ lines: mAroundW, isStopped: true, ...way })

const ways: Way[] = [
  { way: 'E2 natural end of W', worker: 'hooks()', lines: wThenM(ended(0)) },
  { way: 'E2 process.exit(4) in W', worker: soon('process.exit(4)'), lines: wThenM(ended(4)) },
  { way: 'E2 an error in W', worker: soon(`throw new Error('boom')`), lines: wThenM('M W error boom', ended(1)) },
  { way: 'E2 a rejection in W', worker: soon(`Promise.reject(new Error('boom'))`), lines: wThenM('M W error boom', ended(1)) },
  { way: 'E50 worker.terminate()', main: `tell(await worker.terminate())`, lines: wThenM(ended(1), 'M 1') },
  {
    way: 'E50 worker.terminate() twice, and once more after the end',
    main: `tell(await Promise.all([worker.terminate(), worker.terminate()])); tell(await worker.terminate())`,
    lines: wThenM(ended(1), 'M 1,1', 'M undefined'),
  },
  {
    way: 'E50 await using worker',
    since: 24,
    main: `{ await using used = worker } tell('after')`,
    lines: wThenM(ended(1), 'M after'),
  },
  {
    way: 'E50 worker.terminate() of an unref() worker',
    main: 'worker.unref(); tell(await worker.terminate())',
    lines: wThenM(ended(1), 'M 1'),
  },
  {
    way: "E50 worker.terminate(), W's hook calls process.exit(9)",
    main: 'tell(await worker.terminate())',
    worker: `hooks(); onExit(() => process.exit(9)); hold()`,
    lines: wThenM(ended(1), 'M 1'),
  },
  {
    way: 'E50 worker.terminate() in a hook of main',
    main: `onExit(async () => tell(await worker.terminate())); process.exit(3)`,
    code: 3,
    lines: wThenM(ended(1), 'M 1'),
  },
  leavesMain({ way: 'natural end of main, W is unref()', main: 'worker.unref()' }),
  leavesMain({ way: 'process.exit(3) in main, sync hooks', main: 'process.exit(3)', code: 3 }),
  leavesMain({
    way: 'process.exit(3) in main, async hooks',
    main: `onExit(async () => { await sleep(5); tell('slow') }); process.exit(3)`,
    code: 3,
    lines: ['M slow', ...mAroundW],
  }),
  leavesMain({
    way: 'process.reallyExit(3) in main: its loop never turns again',
    main: 'process.reallyExit(3)',
    code: 3,
    lines: ['M new', ...ofW, 'M old'],
  }),
  leavesMain({
    way: "process.exit(3) in main's 'exit' event",
    main: `process.on('exit', () => process.exit(3)); process.reallyExit(3)`,
    code: 3,
    lines: ['M new', ...ofW, 'M old'],
  }),
  leavesMain({ way: 'an error in main', main: `throw new Error('bum')`, code: 1, stderr: /^\s*Error: bum\n/ }),
  leavesMain({ way: 'a rejection in main', main: `Promise.reject(new Error('bum')); hold()`, code: 1, stderr: /Error: bum\n/ }),
  ...(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const).map((signal) =>
    leavesMain({
      way: `${signal} to main`,
      main: `tell('ready'); hold()`,
      kill: signal,
      signal,
      lines: ['M ready', ...mAroundW],
    }),
  ),
]

for (const row of ways)
  test.skipIf(nodeMajor < (row.since ?? 0))(`${row.way}: the hooks of each thread run in it, once, in order`, async () => {
    const source = both(row.main ?? '', row.worker)
    const program = row.kill ? await runAndKill(source, row.kill, row.options) : await run(source, row.options)
    expect(program.lines).toEqual(row.lines)
    expect({ code: program.code, signal: program.signal }).toEqual({
      code: row.signal ? null : (row.code ?? 0),
      signal: row.signal ?? null,
    })
    if (row.stderr) expect(program.stderr).toMatch(row.stderr)
    else expect(program.stderr).toBe('')
    expect(threadsIn(program)).toEqual(
      row.isStopped ? [{ thread: 1, report: expect.objectContaining({ reasons: [{ kind: 'worker', code: 1 }] }) }] : [],
    )
    const report = threadsIn(program)?.[0]?.report
    if (report) expect(report.hooks.map(({ name, status }) => `${name} ${status}`)).toEqual(['new ok', 'slow ok', 'old ok'])
  })

describe('what W does on its way out', () => {
  test.each([
    ['sync', 'const tick = () => {}'],
    ['async', 'const tick = () => sleep(1)'],
  ])("E50 the %s listeners of others to W's 'exit' event come after its hooks", async (_, tick) => {
    const source = both(
      `await worker.terminate()`,
      `${tick}; onExit(async () => { await tick(); tell('hook') }); process.on('exit', (code) => tell('exit ' + code)); hold()`,
    )
    expect((await run(source)).lines).toEqual(['W hook', 'W exit 1', ended(1), 'M new', 'M old'])
  })

  test('E50 worker.terminate(), main leaves at once: the hooks of both, once', async () => {
    const { lines, code } = await run(both('worker.terminate(); process.exit(3)'))
    expect(code).toBe(3)
    expect(lines.filter((line) => line.startsWith('W'))).toEqual(ofW)
    expect(lines.filter((line) => line.startsWith('M'))).toEqual(['M new', ended(1), 'M old'])
  })

  test('E50 what never settles is given up: bounded by the grace period', async () => {
    const source = both(
      `configure({ grace: '1s' }); tell(await worker.terminate())`,
      `hooks(); onExit(() => new Promise(() => {}), { name: 'hung' }); hold()`,
    )
    expect(await run(source)).toMatchObject({
      lines: wThenM(ended(1), 'M 1'),
      code: 0,
      stderr: expect.stringMatching(/overdue .* release hung/),
    })
  })

  const failing = `hooks(); onExit(() => { throw new Error('one') }); onExit(async () => { throw new Error('two') }); onExit(() => { throw undefined })`
  test.each([
    ['natural end of W', '', failing, 0, wThenM(ended(1))],
    ['worker.terminate()', 'await worker.terminate()', `${failing}; hold()`, 0, wThenM(ended(1))],
    ['process.exit(0) in main', 'process.exit(0)', `${failing}; hold()`, 0, mAroundW],
  ])('E51 hooks of W throw, %s: the others run, main is unaffected', async (_, main, worker, code, lines) => {
    const program = await run(both(main, worker))
    expect(program).toMatchObject({ code, lines })
    for (const error of ['one', 'two']) expect(program.stderr.match(new RegExp(`Error: ${error}`, 'g'))).toHaveLength(1)
    const report = threadsIn(program)?.[0]?.report
    if (report) expect(report.hooks.filter(({ status }) => status === 'failed')).toHaveLength(3)
  })

  const loop = ['a loop', 'for (;;);']
  const regex = ['a regular expression', `/^(a+)+$/.test('a'.repeat(50) + 'b')`]
  const wait = ['Atomics.wait', 'Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)']
  const exec = ['execSync', `process.getBuiltinModule('node:child_process').execSync('sleep 3')`]
  type Fate = 'freed' | 'entered' | 'terminated'
  /** What becomes of W. Node dies of a timer's callback that is ended, and itself waits for the end of execSync. */
  const blocks = (
    [
      [loop, 'a message', 'freed', ofW],
      [regex, 'a message', 'freed', ofW],
      [wait, 'a message', 'freed', ofW],
      [loop, 'a timer', 'entered', ['W new', 'W old']],
      [wait, 'a timer', 'entered', ['W new', 'W old']],
      [exec, 'a message', 'terminated', []],
    ] as [[string, string], string, Fate, string[]][]
  ).map(([[name, block], place, fate, lines]) => [name, place, fate, lines, block] as const)
  const blocked = (main: string, place: string, block: string) =>
    both(
      `configure({ grace: '2s' }); worker.postMessage('go'); while (Atomics.load(memory, 0) === 0) await sleep(5); ${main}`,
      `const block = () => { Atomics.store(workerData, 0, 1); ${block} }
      hooks(); hold(); parentPort.once('message', ${place === 'a timer' ? '() => setTimeout(block, 1)' : 'block'})`,
      '{ workerData: memory }',
    ).replace('if (isMainThread)', 'const memory = new Int32Array(new SharedArrayBuffer(4))\nif (isMainThread)')

  for (const [name, place, fate, lines, block] of blocks) {
    test.concurrent(`E52 ${name} in ${place} blocks W: ${fate} by worker.terminate(), main goes on`, async () => {
      const program = await run(blocked('tell(await worker.terminate())', place, block))
      expect(program.code).toBe(0)
      // Where nothing enters a call, what was sent may still be done when it returns.
      const seen = program.lines.filter((line) => fate !== 'terminated' || line.startsWith('M'))
      expect(seen).toEqual([...lines, ended(1), 'M 1', 'M new', 'M old'])
    })

    test.concurrent(`E52 ${name} in ${place} blocks W: ${fate} after SIGTERM to main, in time`, async () => {
      const program = await runAndKill(blocked(`tell('ready'); hold()`, place, block), 'SIGTERM')
      const inW = fate === 'terminated' ? [] : [...lines, ended(1)]
      expect(program).toMatchObject({ signal: 'SIGTERM', lines: ['M ready', 'M new', ...inW, 'M old'] })
      expect(program.report?.duration).toBeLessThan(2000)
      const told = {
        freed: {
          status: 'ok',
          result: [{ freed: true, report: { hooks: [{ status: 'ok' }, { status: 'ok' }, { status: 'ok' }] } }],
        },
        entered: { status: 'failed', result: [{ report: { hooks: [{}, { status: 'cut', started: false }, {}] } }] },
        terminated: { status: 'failed', result: [{ terminated: true }] },
      }
      expect(program.report?.hooks.find((hook) => hook.name === 'threads')).toMatchObject(told[fate])
      expect(threadsIn(program)).toMatchObject([{ thread: 1, blocked: true }])
      const words = { freed: /^$/, entered: /the event loop of thread 1 is blocked/, terminated: /thread 1 did not end in time/ }
      expect(program.stderr).toMatch(words[fate])
    })
  }

  test.concurrent('E52 a blocked loop, wherever it is: Node does not die of how it is left', async () => {
    const places = {
      runInAsyncScope: `new AsyncResource('a').runInAsyncScope(block)`,
      'process.nextTick': 'process.nextTick(block)',
      queueMicrotask: 'queueMicrotask(block)',
      setImmediate: 'setImmediate(block)',
      'a promise': 'Promise.resolve().then(block)',
      'a promise of a timer': 'sleep(1).then(block)',
      'a promise in a context': 'new AsyncLocalStorage().run(1, async () => { await null; block() })',
      'a promise that is followed': 'createHook({ init() {} }).enable(); Promise.resolve().then(block)',
      'an uncaught error': `process.on('uncaughtException', block); throw new Error('bum')`,
      zlib: `gzip('text', block)`,
      'no end of process.nextTick': `const next = () => process.nextTick(next); next(); say('blocked')`,
    }
    const program = await run(
      `${head()}
      import { AsyncLocalStorage, AsyncResource, createHook } from 'node:async_hooks'
      import { gzip } from 'node:zlib'
      const block = () => { say('blocked'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) }
      const places = { ${Object.entries(places).map(([name, call]) => `${JSON.stringify(name)}: () => { ${call} }`)} }
      if (isMainThread) {
        onExit(() => tell('old'))
        for (const workerData in places) {
          const worker = new Worker(new URL(import.meta.url), { workerData })
          await once(worker, 'message')
          worker.postMessage('go')
          await once(worker, 'message')
          await worker.terminate()
        }
      } else {
        onExit(() => tell(workerData))
        hold()
        parentPort.once('message', () => { parentPort.postMessage('goes'); places[workerData]() })
        parentPort.postMessage('up')
      }`,
      { timeout: 60_000 },
    )
    const lines = program.lines.filter((line) => line !== 'blocked')
    expect({ ...program, lines }).toMatchObject({
      lines: [...Object.keys(places).map((name) => `W ${name}`), 'M old'],
      code: 0,
      stderr: '',
    })
  })

  test.concurrent('E52 a hook that never returns, worker.terminate(): the synchronous ones after it are called', async () => {
    const program = await run(
      both(`configure({ grace: '3s' }); tell(await worker.terminate())`, `hooks(); onExit(() => { for (;;); }); hold()`),
    )
    expect(program.lines).toEqual(['W new', 'W old', ended(1), 'M 1', 'M new', 'M old'])
  })
})

describe.concurrent('a second signal to main', () => {
  const again = `setTimeout(() => process.kill(process.pid, 'SIGINT'), 700)`
  test.each([
    ["a hook of W's hangs", `onExit(() => { ${again} })`, `; onExit(() => new Promise(() => {}), { timeout: '9s' })`],
    ["a hook of main's hangs", `onExit(() => { ${again}; return new Promise(() => {}) })`, ''],
  ])('%s: the others of W are called, and reported', async (_, main, worker) => {
    const program = await runAndKill(
      both(`configure({ grace: '20s' }); ${main}; tell('ready'); hold()`, `hooks() ${worker}; hold()`),
      'SIGTERM',
    )
    expect(program).toMatchObject({ signal: 'SIGTERM', report: { forced: true } })
    expect(program.lines.filter((line) => line === 'W new' || line === 'W old')).toEqual(['W new', 'W old'])
    expect(program.lines.at(-1)).toBe('M old')
    expect(program.ms).toBeLessThan(9000)
    expect(threadsIn(program)).toMatchObject([{ thread: 1 }])
  })
})

describe('who has exodos', () => {
  const guest = prelude.replace(/^import .* 'exodos'$/m, `import { onExit } from 'exodos/lib'`)
  const pair = (inMain: string, main: string) =>
    `${head(guest.replace(/^import .*lib'$/m, inMain))}
    if (isMainThread) {
      const worker = begin()
      await once(worker, 'message')
      ${main}
    } else {
      const { onExit } = await import('exodos/lib')
      onExit(() => tell('old'))
      onExit(async () => { await sleep(5); tell('slow') })
      parentPort.once('message', (code) => process.exit(code))
      parentPort.postMessage('up')
    }`
  const hooksOfGuest = ['W slow', 'W old']
  const rows: [string, string, string[], number | string][] = [
    ['natural end of main, W is unref()', 'worker.unref()', [...hooksOfGuest, ended(1)], 0],
    ['worker.terminate()', 'await worker.terminate()', [...hooksOfGuest, ended(1)], 0],
    ['process.exit(3) in main', 'process.exit(3)', hooksOfGuest, 3],
    ['an error in main', `throw new Error('bum')`, hooksOfGuest, 1],
    ['SIGTERM', `tell('ready'); hold()`, ['M ready', ...hooksOfGuest, ended(1)], 'SIGTERM'],
  ]
  test.each(rows)('main and W have guests only, %s: W runs its hooks', async (_, main, lines, end) => {
    const source = pair(`import { onExit } from 'exodos/lib'`, main)
    const program = end === 'SIGTERM' ? await runAndKill(source, 'SIGTERM') : await run(source)
    expect(program.lines).toEqual(lines)
    expect(program.signal ?? program.code).toBe(end)
  })

  test.each(rows)('main has no exodos, %s: as Node, W runs none', async (_, main, lines, end) => {
    const source = pair('', main)
    const program = end === 'SIGTERM' ? await runAndKill(source, 'SIGTERM') : await run(source)
    expect(program.lines).toEqual(lines.filter((line) => line === 'M ready' || (main.includes('terminate') && line === ended(1))))
    expect(program.signal ?? program.code).toBe(end)
  })

  test('main has no exodos, process.exit in W: the synchronous hooks of guests', async () => {
    const { lines, code } = await run(pair('', 'worker.postMessage(5)'))
    expect(lines).toEqual(['W old', ended(5)])
    expect(code).toBe(0)
  })
})

describe('threads of threads', () => {
  /** Each one starts the next, up to `last`; `bare` ones don't load exodos. */
  const chain = (last: number, bare: number[], main: string) => `
    import { writeSync } from 'node:fs'
    import { once } from 'node:events'
    import { parentPort, Worker, workerData } from 'node:worker_threads'
    const level = workerData ?? 0
    const hook = async (name) => {
      if (${JSON.stringify(bare)}.includes(level)) return
      const { onExit } = await import('exodos')
      onExit(() => new Promise((done) => setTimeout(() => done(writeSync(1, level + name + '\\n')), 3)), { name, sync: () => writeSync(1, level + name + '\\n') })
    }
    await hook('old')
    const worker = level < ${last} ? new Worker(new URL(import.meta.url), { workerData: level + 1 }) : undefined
    if (worker) await once(worker, 'message')
    await hook('new')
    if (level === 0) { ${main} } else { setTimeout(() => {}, 60_000); parentPort.on('message', () => process.exit(0)); parentPort.postMessage('up') }`
  const inOrder = ['0new', '1new', '2new', '3new', '3old', '2old', '1old', '0old']
  const ends: [string, number | string][] = [
    ['worker.unref()', 0],
    ['process.exit(3)', 3],
    ['process.reallyExit(3)', 3],
    ['throw 1', 1],
    [`console.log('ready'); setTimeout(() => {}, 60_000)`, 'SIGTERM'],
  ]
  const finish = async (source: string, end: number | string) => {
    const program = end === 'SIGTERM' ? await runAndKill(source, end) : await run(source)
    expect(program.signal ?? program.code).toBe(end)
    return { ...program, lines: program.lines.filter((line) => line !== 'ready') }
  }

  test.each(ends)('four levels, %s: each one where it was started', async (main, end) => {
    const program = await finish(chain(3, [], main), end)
    expect(program.lines).toEqual(inOrder)
    const reportOf = (report: Report | undefined) => threadsIn({ report } as Ended)?.[0]?.report
    expect(reportOf(reportOf(reportOf(program.report)))?.hooks.map(({ name }) => name)).toEqual(['new', 'old'])
  })

  test.each(ends)('one in the middle has no exodos, %s: main asks the one below it', async (main, end) => {
    const { lines } = await finish(chain(2, [1], main), end)
    expect(lines).toEqual(['0new', '2new', '2old', '0old'])
  })

  test.each([
    ['terminated', 'await worker.terminate()'],
    ['ended', `worker.postMessage(''); await once(worker, 'exit')`],
  ])('one in the middle without exodos is %s: main does not wait for the one below it', async (_, main) => {
    const program = await run(chain(2, [1], main))
    expect(program).toMatchObject({ code: 0, stderr: '' })
    expect(program.lines.filter((line) => line.startsWith('0'))).toEqual(['0new', '0old'])
    expect(program.report?.duration).toBeLessThan(4000)
  })

  test.each(ends)('eight at once, %s: at the same time', async (main, end) => {
    const source = `${head()}
      if (isMainThread) {
        onExit(() => tell('old'))
        const workers = Array.from({ length: 8 }, (_, i) => new Worker(new URL(import.meta.url), { workerData: i }))
        await Promise.all(workers.map((worker) => once(worker, 'message')))
        const worker = { unref: () => workers.map((worker) => worker.unref()) }
        ${main}
      } else {
        onExit(async () => { tell('begins ' + workerData); await sleep(400); tell('ends ' + workerData) })
        hold()
        parentPort.postMessage('up')
      }`
    const { lines, report } = await finish(source, end)
    const all = (word: string) => Array.from({ length: 8 }, (_, i) => `W ${word} ${i}`)
    expect(lines.slice(0, 8).sort()).toEqual(all('begins'))
    expect(lines.slice(8, 16).sort()).toEqual(all('ends'))
    expect(lines.slice(16)).toEqual(['M old'])
    expect(threadsIn({ report } as Ended)?.map(({ thread }) => thread)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  test('a thread that registers its first hook while main waits for another is asked, too', async () => {
    const { lines } = await run(`${head()}
      if (isMainThread) {
        for (const name of ['early', 'late']) await once(begin({ workerData: name }), 'message')
        process.exit(3)
      } else {
        parentPort.postMessage('up')
        hold()
        if (workerData === 'early') onExit(async () => { await sleep(1000); tell('early') })
        else setTimeout(() => onExit(async () => { await sleep(1); tell('late') }), 200)
      }`)
    expect(lines.filter((line) => line.startsWith('W')).sort()).toEqual(['W early', 'W late'])
  })

  test.each([
    ['it is terminated by that hook', '; await worker.terminate()', 'process.exit(3)', 3],
    ['it is left to the exit, process.exit(3)', '', 'process.exit(3)', 3],
    ['it is left to the exit, natural end', '', '', 0],
    ['it is left to the exit, SIGTERM', '', `say('ready'); hold()`, 'SIGTERM'],
  ])('a hook starts a thread, %s: its hooks run', async (_, then, main, end) => {
    const { lines } = await finish(
      `${head()}
      if (isMainThread) {
        onExit(() => tell('old'))
        onExit(async () => {
          const worker = begin()
          await once(worker, 'message')
          // There and back: what the thread has said of its hooks has come, too.
          worker.postMessage('')
          await once(worker, 'message')
          tell('started') ${then}
        })
        ${main}
      } else { hooks(); parentPort.on('message', () => parentPort.postMessage('')); parentPort.postMessage('up') }`,
      end,
    )
    expect(lines.filter((line) => line.startsWith('W'))).toEqual(ofW)
    expect(lines).toContain('M old')
  })

  const stop = 'await worker.terminate()'
  test.each([
    ...[[stop, 0], ['SIGKILL', 'SIGKILL'], ...ends].map(([main, end]) => ['stopOnExit', main, end]),
    ...[
      [stop, 0],
      ['SIGKILL', 'SIGKILL'],
      ['process.exit(3)', 3],
    ].map(([main, end]) => ['exodos/register', main, end]),
  ] as [string, string, number | string][])(
    'a thread has a child process, %s, %s: it is ended where the thread started it',
    async (how, main, end) => {
      const source = `${head()}
      import { spawn } from 'node:child_process'
      import { stopOnExit } from 'exodos/tree'
      const keep = ${how === 'stopOnExit' ? 'stopOnExit' : '(child) => child'}
      if (isMainThread) {
        onExit(() => tell('old'))
        const worker = begin()
        await once(worker, 'message')
        ${main === 'SIGKILL' ? 'hold()' : main}
      } else {
        onExit(() => tell('old'))
        const child = keep(spawn('sleep', ['600'], { stdio: 'ignore' })).on('exit', (_, signal) => tell('child ' + signal))
        onExit(() => tell('new'))
        say('child ' + child.pid + ' ')
        parentPort.postMessage('up')
        hold()
      }
      if (isMainThread) say('ready')`
      const nodeOptions = how === 'stopOnExit' ? [] : ['--import', 'exodos/register']
      const program = start(source, { nodeOptions })
      await program.until(end === 'SIGTERM' || end === 'SIGKILL' ? 'ready' : 'child ')
      if (end === 'SIGTERM' || end === 'SIGKILL') program.kill(end)
      const { lines, signal, code } = await program.ended
      expect(signal ?? code).toBe(end)
      const pid = Number(/child (\d+)/.exec(program.printed())?.[1])
      if (end === 'SIGKILL') await until('the child is gone', () => !isAlive(pid))
      else {
        expect(lines.filter((line) => /^W/.test(line))).toEqual(['W new', 'W child SIGTERM', 'W old'])
        expect(isAlive(pid)).toBe(false)
      }
    },
  )
})

describe('a resource that each thread opens for itself is closed in each', () => {
  const lead = `await sleep(1); process.kill(process.pid, `
  const rows: [string, string, number | string, string?][] = [
    ['E1 natural end', 'for (const worker of workers) worker.unref()', 0],
    ['E3 process.exit(3)', 'process.exit(3)', 3],
    ['E6 an error', `throw new Error('bum')`, 1],
    ['E8 a rejection', `Promise.reject(new Error('bum')); hold()`, 1],
    ['E10 SIGTERM', `${lead}'SIGTERM'); hold()`, 'SIGTERM'],
    ['E13 SIGHUP', `${lead}'SIGHUP'); hold()`, 'SIGHUP'],
    ['E13 SIGQUIT', `${lead}'SIGQUIT'); hold()`, 'SIGQUIT'],
    [
      'E15 SIGTERM, later SIGINT',
      `onExit(() => { setTimeout(() => process.kill(process.pid, 'SIGINT'), 700); return new Promise(() => {}) }); ${lead}'SIGTERM'); hold()`,
      'SIGTERM',
    ],
    ['E23 a hook never settles', `configure({ grace: '3s' }); onExit(() => new Promise(() => {})); process.exit(3)`, 3],
    ['E35 a hook calls process.exit(9)', `onExit(() => process.exit(9)); process.exit(0)`, 9],
    ['E50 worker.terminate()', 'await Promise.all(workers.map((worker) => worker.terminate()))', 0],
    ['E51 a hook of W throws', 'process.exit(3)', 3, `onExit(() => { throw new Error('bum') })`],
  ]
  test.each(rows)('%s', async (_, main, end, worker = '') => {
    const program = await run(`${head()}
      import { closeOnExit } from 'exodos'
      const open = (name) => closeOnExit({ async close() { say('closes ' + name + (isMainThread ? '' : ' ' + workerData)); await sleep(1) } })
      open(isMainThread ? 'M' : 'W')
      if (isMainThread) {
        const workers = [1, 2, 3].map((workerData) => new Worker(new URL(import.meta.url), { workerData }))
        await Promise.all(workers.map((worker) => once(worker, 'message')))
        ${main}
      } else {
        ${worker}
        hold()
        parentPort.postMessage('up')
      }`)
    expect(program.lines.slice(0, 3).sort()).toEqual(['closes W 1', 'closes W 2', 'closes W 3'])
    expect(program.lines.slice(3)).toEqual(['closes M'])
    expect(program.signal ?? program.code).toBe(end)
  })

  test('E53 SIGKILL: the records of each thread are run', async () => {
    const owner = await begin(`${imports}
      if (isMainThread) {
        const workers = [1, 2, 3].map(() => new Worker(new URL(import.meta.url)))
        await Promise.all(workers.map((worker) => once(worker, 'message')))
      }
      tempDir({ parent: work })
      noteWhenDone()
      hold()
      if (isMainThread) say('ready')
      else parentPort.postMessage('up')`)
    owner.program.kill('SIGKILL')
    await untilClean(owner, Array(4).fill('command'))
  })

  test('a thread runs out of memory: its records are run, main goes on', async () => {
    const place = makePlace()
    const program = start(
      `${imports}
      if (isMainThread) {
        onExit(() => say('M hook'))
        const worker = new Worker(new URL(import.meta.url), { resourceLimits: { maxOldGenerationSizeMb: 24 } })
        worker.on('error', ({ code }) => say(code))
        await new Promise((done) => worker.once('exit', done))
        while (readdirSync(work).length > 0) await new Promise((done) => setTimeout(done, 5))
        say('clean')
      } else {
        onExit(() => say('never'))
        tempDir({ parent: work })
        for (const all = []; ; ) all.push(new Array(1e5).fill({}))
      }`,
      { env: place.env },
    )
    const { lines, code } = await program.ended
    expect(lines).toEqual(['ERR_WORKER_OUT_OF_MEMORY', 'clean', 'M hook'])
    expect(code).toBe(0)
  })
})

describe('beside others', () => {
  const inEval = (options: string, main: string, worker = '') => `${head()}
    onExit(() => tell('old'))
    const worker = new Worker(\`
      const { onExit } = require('exodos')
      const { writeSync } = require('node:fs')
      const say = (text) => writeSync(1, text + String.fromCharCode(10))
      onExit(() => say('W old'))
      onExit(async () => { await new Promise((done) => setTimeout(done, 5)); say('W slow') })
      ${worker}
      setTimeout(() => {}, 60_000)
      require('node:worker_threads').parentPort.postMessage('up')\`, { eval: true, ${options} })
    worker.on('exit', (code) => tell('W exit ' + code))
    await once(worker, 'message')
    ${main}`

  const options = [
    'env: {}',
    'env: SHARE_ENV',
    'trackUnmanagedFds: false',
    'execArgv: []',
    'argv: ["a"]',
    'name: "n"',
    'stdin: true',
    'resourceLimits: { maxOldGenerationSizeMb: 64, stackSizeMb: 2 }',
  ]
  test.each([
    ['worker.terminate()', 'for (const worker of workers) await worker.terminate()', 0],
    ['process.exit(3) in main', 'process.exit(3)', 3],
  ])('whatever options a thread is started with, %s: its hooks run', async (_, main, code) => {
    const program = await run(`${head()}
      import { SHARE_ENV } from 'node:worker_threads'
      const text = (i) => \`
        const { onExit } = require('exodos')
        onExit(async () => {
          await new Promise((done) => setTimeout(done, 5))
          require('node:fs').writeSync(1, 'hook of \${i} ')
        })
        setTimeout(() => {}, 60_000)
        require('node:worker_threads').parentPort.postMessage('up')\`
      const workers = [${options.map((each) => `{ ${each} }`)}].map((each, i) => new Worker(text(i), { eval: true, ...each }))
      await Promise.all(workers.map((worker) => once(worker, 'message')))
      onExit(() => say('M new'), { priority: -1 })
      ${main}`)
    expect(program).toMatchObject({ code, stderr: '' })
    expect(program.stdout.match(/hook of \d/g)?.sort()).toEqual(options.map((__, i) => `hook of ${i}`))
    expect(program.lines.at(-1)).toMatch(/M new$/)
  })

  test.each([
    ['await worker.terminate()', 0],
    ['process.exit(3)', 3],
  ])('what a hook writes to a stdout that main reads arrives: %s', async (main, code) => {
    const hook = `onExit(() => new Promise((done) => process.stdout.write('written', done)))`
    const read = `let text = ''; worker.stdout.on('data', (data) => { text += data }); onExit(() => tell(text), { priority: -1 });`
    const program = await run(inEval('stdout: true', `${read} ${main}`, hook))
    expect(program).toMatchObject({ code, lines: ['W slow', 'W old', ended(1), 'M old', 'M written'] })
  })

  test('50 threads: no warning, and all hooks', async () => {
    const { lines, stderr, code } = await run(
      `${head()}
      if (isMainThread) {
        const workers = Array.from({ length: 50 }, () => new Worker(new URL(import.meta.url)))
        await Promise.all(workers.map((worker) => once(worker, 'message')))
        process.exit(3)
      } else { onExit(async () => { await null; tell('hook') }); hold(); parentPort.postMessage('up') }`,
      { timeout: 60_000 },
    )
    expect({ lines: lines.length, stderr, code }).toEqual({ lines: 50, stderr: '', code: 3 })
  })

  test('nothing of ours keeps a thread alive, and its listeners go with the last hook', async () => {
    const look = `JSON.stringify([process.eventNames().map((name) => [String(name), process.listenerCount(name)]), ...['exit', 'reallyExit', 'emit'].map((name) => [process[name].name, Object.hasOwn(process, name)])])`
    const { lines, ms } = await run(
      both(
        '',
        `const look = () => ${look}
        const before = look()
        const off = [onExit(() => tell('never')), onExit(async () => tell('never'))]
        tell(look() === before)
        for (const cancel of off) cancel()
        while (look() !== before) await sleep(10)
        tell('clean')`,
      ),
    )
    expect(lines).toEqual(['W false', 'W clean', ended(0), 'M new', 'M old'])
    expect(ms).toBeLessThan(10_000)
  })

  test('nothing of ours keeps main alive, and its listeners go with the last thread', async () => {
    const { lines, code } = await run(`
      import 'exodos'
      import { once } from 'node:events'
      import { isMainThread, Worker } from 'node:worker_threads'
      const look = () => ['exit', 'beforeExit', 'SIGTERM'].map((name) => process.listenerCount(name)).join()
      if (isMainThread) {
        const before = look()
        const worker = new Worker(new URL(import.meta.url))
        await once(worker, 'online')
        await worker.terminate()
        while (look() !== before) await new Promise((done) => setTimeout(done, 10))
        new Worker(new URL(import.meta.url)).unref()
        console.log('end')
      } else setTimeout(() => {}, 60_000)`)
    expect({ lines, code }).toEqual({ lines: ['end'], code: 0 })
  })

  test('worker.terminate() of a thread without hooks is that of Node', async () => {
    const program = (face: string, inMain: string) =>
      run(`${face}
      import { isMainThread, Worker } from 'node:worker_threads'
      if (!isMainThread) setInterval(() => {}, 1000)
      else {
        const log = console.log
        const begin = async () => {
          const worker = new Worker(new URL(import.meta.url)).on('exit', (code) => log('exit ' + code))
          await new Promise((done) => worker.once('online', done))
          return worker
        }
        ${inMain}
      }`)
    const inMain = `
      const one = await begin()
      log(Object.prototype.toString.call(one.terminate()))
      log(await one.terminate(), await one.terminate(), one.threadId)
      const two = await begin()
      two.unref()
      two.terminate((error, code) => log('callback', error, code)).then((code) => log('resolved', code))
      process.on('exit', () => log('main'))`
    const [ours, nodes] = await Promise.all([program(`import 'exodos'`, inMain), program('', inMain)])
    expect(ours.lines).toEqual(nodes.lines)
    const times = await program(
      `import 'exodos'`,
      `const sum = [0, 0]
      for (let i = 0; i < 20; i++) {
        const worker = await begin()
        const start = performance.now()
        await (i % 2 ? worker.terminate() : Worker.prototype.terminate.call(worker))
        sum[i % 2] += performance.now() - start
      }
      log(sum[1] < 3 * sum[0] + 200)`,
    )
    expect(times.lines.at(-1)).toBe('true')
  })

  test.skipIf(nodeMajor >= 26)('worker.terminate(callback) of a thread with hooks calls it, as Node does', async () => {
    const { lines } = await run(both(`worker.terminate((error, code) => tell('callback ' + error + ' ' + code))`))
    expect(lines).toEqual(wThenM(ended(1), 'M callback null 1'))
  })
})

describe('at the same moment', () => {
  /** Many times in one process: `worker` says in memory[0] that it has its hooks, and `when` is when main terminates it. */
  const race = (worker: string, when: string) => `${head()}
    if (isMainThread) {
      for (let i = 0; i < 8; i++) {
        const memory = new Int32Array(new SharedArrayBuffer(16))
        const worker = new Worker(new URL(import.meta.url), { workerData: memory })
        const isEnded = new Promise((done) => worker.once('exit', done))
        worker.on('error', () => {})
        const turn = () => new Promise((done) => setImmediate(done))
        ${when}
        const had = Atomics.load(memory, 0) === 1
        const told = await worker.terminate()
        const code = await isEnded
        const [, sync, slow] = memory
        if (sync > 1 || slow > 1 || (had && sync + slow !== 2) || ![code, undefined].includes(told)) say([had, sync, slow, told, code].join())
      }
      say('done')
    } else {
      const memory = workerData
      const hooks = () => {
        onExit(() => Atomics.add(memory, 1, 1))
        onExit(async () => { await sleep(1); Atomics.add(memory, 2, 1) })
        Atomics.store(memory, 0, 1)
      }
      ${worker}
    }`
  const has = (index: number) => `while (Atomics.load(memory, ${index}) === 0) await turn()`
  test.each([
    ['as W starts', 'hooks(); hold()', 'await sleep(Math.random() * 60)'],
    [
      'as W registers its first hook',
      'setTimeout(hooks, 2); hold(); Atomics.store(memory, 3, 1)',
      `${has(3)}; await sleep(Math.random() * 4)`,
    ],
    ['as W has them', 'hooks(); hold()', has(0)],
    ['as W ends by itself', 'hooks(); setTimeout(() => {}, 2)', `${has(0)}; await sleep(Math.random() * 8)`],
    ['as W calls process.exit(5)', 'hooks(); setTimeout(() => process.exit(5), 2)', `${has(0)}; await sleep(Math.random() * 8)`],
    ['as W throws', `hooks(); setTimeout(() => { throw new Error('bum') }, 2)`, `${has(0)}; await sleep(Math.random() * 8)`],
    [
      'while W registers and cancels',
      `hooks(); setInterval(() => onExit(() => Atomics.add(memory, 1, 2)).cancel(), 0)`,
      `${has(0)}; await sleep(Math.random() * 8)`,
    ],
  ])('worker.terminate() %s: each hook once', async (_, worker, when) => {
    expect(await run(race(worker, when), { timeout: 60_000 })).toMatchObject({ lines: ['done'], code: 0 })
  })

  test.each([0, 15, 30, 45])('main leaves while threads start, after %i ms: in time, no hook twice', async (ms) => {
    const { lines, code, stderr } = await run(`${head()}
      if (isMainThread) {
        for (const workerData of [1, 2, 3, 4]) new Worker(new URL(import.meta.url), { workerData })
        await sleep(${ms})
        process.exit(3)
      } else { onExit(async () => { await null; tell('hook ' + workerData) }); hold() }`)
    expect({ code, stderr }).toEqual({ code: 3, stderr: '' })
    expect(new Set(lines).size).toBe(lines.length)
  })

  test('the program terminates a worker while main waits for it: its hooks finish', async () => {
    const { lines, code } = await run(
      both(
        `worker.on('message', () => worker.terminate().then((code) => tell(code))); process.exit(3)`,
        `onExit(async () => { parentPort.postMessage('leaving'); await sleep(20); tell('slow') }); hold()`,
      ),
    )
    expect({ lines: lines.filter((line) => line !== 'M 1'), code }).toEqual({
      lines: ['M new', 'W slow', ended(1), 'M old'],
      code: 3,
    })
  })
})

describe('pools of others', () => {
  const isInstalled = (name: string) => existsSync(new URL(`../../../node_modules/${name}/package.json`, import.meta.url))
  const pools = [
    [
      'jest-worker',
      `import { Worker as Pool } from 'jest-worker'`,
      `new Pool(file, { enableWorkerThreads: true, numWorkers: 2, exposedMethods: ['double'] })`,
      'pool.double(n)',
      'pool.end()',
    ],
    [
      'piscina',
      `import { Piscina as Pool } from 'piscina'`,
      'new Pool({ filename: import.meta.url, minThreads: 2, maxThreads: 2 })',
      `pool.run(n, { name: 'double' })`,
      'pool.destroy()',
    ],
    [
      'tinypool',
      `import Pool from 'tinypool'`,
      `new Pool({ filename: import.meta.url, minThreads: 2, maxThreads: 2, runtime: 'worker_threads' })`,
      `pool.run(n, { name: 'double' })`,
      'pool.destroy()',
    ],
  ] as const
  for (const [name, face, make, task, close] of pools)
    test.skipIf(!isInstalled(name)).each([
      [close, `await ${close}`, 0],
      ['process.exit(3)', 'process.exit(3)', 3],
    ])(`${name}, %s: what each thread has opened is closed in it`, async (_, main, code) => {
      const program = await run(`${head()}
        ${face}
        import { fileURLToPath } from 'node:url'
        export const double = async (n) => { await sleep(50); return 2 * n }
        const file = fileURLToPath(import.meta.url)
        if (isMainThread) {
          onExit(() => tell('old'))
          const go = async () => {
            const pool = ${make}
            say((await Promise.all([1, 2, 3, 4].map((n) => ${task}))).join())
            ${main}
          }
          go()
        } else onExit(async () => { await sleep(5); tell('closed') })`)
      expect(program).toMatchObject({ code, stderr: '', lines: ['2,4,6,8', 'W closed', 'W closed', 'M old'] })
      expect(program.report?.duration).toBeLessThan(3000)
    })
})
