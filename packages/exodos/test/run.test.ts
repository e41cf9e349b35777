import { readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { afterEach, describe, expect, test } from 'vitest'
import type { RunReport } from '../src/supervisor/supervise.js'
import { type Ended, node, type Program, type ProgramOptions, prelude, run, runAndKill, start } from './support/program.js'
import { asInit, canUnshare, childrenOf, exodosRun, isAlive } from './support/supervise.js'

const numbers = constants.signals as Record<string, number>
const names = Object.keys(numbers)
/** What doesn't end a process that does nothing about it. */
const harmless = ['SIGCHLD', 'SIGCONT', 'SIGSTOP', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGURG', 'SIGWINCH']
/** What the supervisor can't hear, is sent by the terminal to all, or speaks of a fault of its own. */
const notPassedOn = ['SIGKILL', 'SIGPROF', 'SIGSEGV', 'SIGBUS', 'SIGFPE', 'SIGILL', ...harmless]
/** One name for each number: SIGIOT is SIGABRT, SIGPOLL is SIGIO. */
const passedOn = names.filter((name) => !notPassedOn.includes(name) && name !== 'SIGIOT' && name !== 'SIGPOLL')

/** A program under `exodos run` with these options; its argument is its own file. */
const under = (...options: string[]): ProgramOptions => ({ command: (file) => exodosRun(options, node, file) })
const sh = (script: string, ...options: string[]): ProgramOptions => ({ command: () => exodosRun(options, 'sh', '-c', script) })

/** The report of `exodos run` is beside the program. */
const reporting = (...options: string[]): ProgramOptions => ({
  command: (file) => exodosRun([`--report=${join(dirname(file), 'run.json')}`, ...options], node, file),
})

async function inLanes<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = items.values()
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (const item of left) await work(item)
    }),
  )
}

describe('the exit status is passed on exactly', () => {
  /** Those with a meaning to programs, shells and init systems, each of 128 + a signal, and some of the others. */
  const special = (code: number) => code < 4 || (code >= 64 && code <= 66) || (code >= 124 && code <= 165) || code === 255
  const codes = [...Array(256).keys()].filter((code) => special(code) || code % 16 === 15)

  test('codes', { timeout: 60_000 }, async () => {
    const wrong: unknown[] = []
    await inLanes(codes, async (expected) => {
      const { code, signal, stderr } = await run('', sh(`exit ${expected}`))
      if (code !== expected || signal || stderr) wrong.push({ expected, code, signal, stderr })
    })
    expect(wrong).toEqual([])
  })

  test('every signal that a process dies of', async () => {
    const wrong: unknown[] = []
    const deadly = names.filter((name) => !harmless.includes(name))
    expect(deadly.length).toBeGreaterThan(20)
    await inLanes(deadly, async (name) => {
      const { code, signal, stderr } = await run('', {
        // No core dumps, of the program or of the supervisor.
        command: () => [
          'sh',
          '-c',
          'ulimit -c 0; exec "$@"',
          'sh',
          ...exodosRun([], 'sh', '-c', `kill -${numbers[name]} $$; sleep 5`),
        ],
      })
      if (numbers[signal ?? ''] !== numbers[name] || stderr) wrong.push({ name, code, signal, stderr })
    })
    expect(wrong).toEqual([])
  })
})

describe('signals to `exodos run` reach the program', () => {
  const counting = `
    import { writeSync } from 'node:fs'
    const say = (text) => writeSync(1, text + '\\n')
    for (const name of ${JSON.stringify([...passedOn, 'SIGWINCH', 'SIGCONT', 'SIGTSTP'])}) process.on(name, () => {
      say('got ' + name)
      // Late enough for a second one to be seen.
      if (name === 'SIGTERM') setTimeout(() => process.exit(7), 300)
    })
    setInterval(() => {}, 1000)
    say('ready')`
  const trapping = [
    ...passedOn.map((name) => `trap 'echo got ${name}' ${numbers[name]}`),
    `trap 'echo got SIGTERM; sleep 0.3; exit 7' TERM`,
    'echo ready; while :; do sleep 0.02; done',
  ].join('\n')

  test.each([
    ['a Node program', counting, under()],
    ['a shell script with traps', '', sh(trapping)],
  ])('each that can be caught exactly once: %s', async (_, source, options) => {
    const program = start(source, options)
    await program.until('ready')
    const ordered = [...passedOn.filter((name) => name !== 'SIGTERM'), 'SIGTERM']
    for (const name of ordered) {
      program.kill(name as NodeJS.Signals)
      await program.until(`got ${name}`)
    }
    expect(await program.ended).toMatchObject({ code: 7, lines: ['ready', ...ordered.map((name) => `got ${name}`)] })
  })

  test('but not SIGWINCH, SIGTSTP and SIGCONT, which the terminal sends to all', async () => {
    const program = start(counting, under())
    await program.until('ready')
    for (const name of ['SIGWINCH', 'SIGTSTP', 'SIGCONT', 'SIGTERM'] as const) program.kill(name)
    expect(await program.ended).toMatchObject({ code: 7, lines: ['ready', 'got SIGTERM'], stderr: '' })
  })

  test('a program that goes on after SIGINT and leaves later has its whole grace period', async () => {
    const program = start(
      `${prelude}
      configure({ signals: { SIGINT: 'app' } })
      process.on('SIGINT', () => { say('got SIGINT'); setTimeout(() => process.exit(3), 1500) })
      onExit(async () => { await sleep(200); say('hook') })
      hold()
      say('ready')`,
      under('--grace=600ms', '--kill-after=300ms'),
    )
    await program.until('ready')
    program.kill('SIGINT')
    expect(await program.ended).toMatchObject({ code: 3, lines: ['ready', 'got SIGINT', 'hook'], stderr: '' })
  })
})

describe('what a program leaves behind', () => {
  const started: number[] = []
  afterEach(() => {
    for (const pid of started.splice(0)) if (isAlive(pid)) process.kill(pid, 'SIGKILL')
  })
  /** The program says the pid of what it starts. */
  async function leave(script: string, ...options: string[]): Promise<Ended & { pid: number; run: RunReport }> {
    const program = start('', {
      command: (file) => exodosRun([`--report=${join(dirname(file), 'run.json')}`, ...options], 'sh', '-c', script),
    })
    const ended = await program.ended
    const pid = Number(/pid (\d+)/.exec(ended.stdout)?.[1])
    started.push(pid)
    return { ...ended, pid, run: runReport(program) }
  }

  test('in its group: it is sent SIGTERM, and reported', async () => {
    const ended = await leave('sleep 60 & echo pid $!; exit 4')
    const { pid } = ended
    expect(ended).toMatchObject({ code: 4, stderr: `exodos run: left behind: PID ${pid} (sleep 60): it is sent SIGTERM\n` })
    expect(ended.run).toMatchObject({ exit: { code: 4 }, leftBehind: [{ pid, command: 'sleep 60' }], killed: [] })
    expect(isAlive(pid)).toBe(false)
  })

  test('in its group, deaf to SIGTERM: it is killed after grace and kill-after', async () => {
    const ended = await leave(`trap '' TERM; sleep 60 & echo pid $!`, '--grace=300ms', '--kill-after=200ms')
    const { pid } = ended
    expect(ended.code).toBe(0)
    expect(ended.stderr).toMatch(
      new RegExp(`^.*left behind: PID ${pid} .*\\nexodos run: PID ${pid} \\(sleep 60\\): killed, 0\\.[5-9] s after SIGTERM\\n$`),
    )
    expect(ended.run).toMatchObject({ leftBehind: [{ pid }], killed: [{ pid, command: 'sleep 60' }] })
    expect(isAlive(pid)).toBe(false)
    expect(ended.ms).toBeLessThan(5000)
  })

  test('in its group, with hooks of exodos: they run once', async () => {
    const program = start(
      `${prelude}
      import { spawn } from 'node:child_process'
      if (process.argv[2] !== 'child') {
        spawn(process.execPath, [process.argv[1], 'child'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...process.env, EXODOS_TREE: '' } }).once('message', () => process.reallyExit(5))
      } else {
        configure({ onParentLost: 'stay' })
        onExit(async () => { await sleep(50); say('hook') })
        hold()
        process.send('there')
      }`,
      reporting(),
    )
    expect(await program.ended).toMatchObject({ code: 5, lines: ['hook'] })
    expect(runReport(program)).toMatchObject({ leftBehind: [{}], killed: [], reports: [{ reasons: [{ signal: 'SIGTERM' }] }] })
  })

  test('a daemon with a session of its own is left alone', async () => {
    const { pid, ...ended } = await leave('setsid sleep 60 < /dev/null > /dev/null 2>&1 & echo pid $!; sleep 0.2')
    expect(ended).toMatchObject({ code: 0, stderr: '', run: { leftBehind: [], killed: [] } })
    expect(isAlive(pid)).toBe(true)
  })

  test("what was in the group before, of the supervisor's own parent, is left alone", async () => {
    const ended = await run('', {
      command: () => ['sh', '-c', 'sleep 60 & "$@"; echo code $?; kill $! && echo alive', 'sh', ...exodosRun([], 'true')],
    })
    expect(ended).toMatchObject({ code: 0, lines: ['code 0', 'alive'], stderr: '' })
  })
})

describe.runIf(canUnshare())('as PID 1', () => {
  const warning = 'exodos run: this is PID 1: orphans that end stay as zombies'
  const init = (...options: string[]): ProgramOptions => ({ command: (file) => asInit(...exodosRun(options, node, file)) })
  async function killInit(source: string, ...options: string[]): Promise<Ended> {
    const program = start(source, init(...options))
    await program.until('ready')
    for (const pid of childrenOf(program.child.pid as number)) process.kill(pid, 'SIGTERM')
    return program.ended
  }

  test('it warns of zombies and passes the code on', async () => {
    const ended = await run('process.exitCode = 9', init())
    expect(ended.code).toBe(9)
    expect(ended.stderr).toContain(warning)
  })

  test('SIGTERM is passed on; 143 for a program that dies by it', async () => {
    const ended = await killInit(`${prelude} onExit(async () => { await sleep(20); say('hook') }); hold(); say('ready')`)
    expect(ended).toMatchObject({ code: 143, signal: null, lines: ['ready', 'hook'] })
    expect(ended.stderr).toContain(warning)
  })

  test('a blocked event loop is freed', async () => {
    const ended = await killInit(
      `${prelude}
      onExit(async () => { await sleep(20); say('hook') })
      hold()
      setTimeout(function spinning() { say('ready'); for (;;); }, 1)`,
      '--grace=2s',
    )
    expect(ended).toMatchObject({ code: 143, lines: ['ready', 'hook'] })
    expect(ended.stderr).toMatch(/the event loop is blocked .* after SIGTERM:\n {4}at spinning \(.*program\.mjs:\d+:\d+\)/)
    expect(ended.stderr).toContain('it was freed, and goes on')
  })
})

test('any number of signals that the program survives: nothing is said of listeners', async () => {
  const source = `${prelude} let times = 0; process.on('SIGINT', () => say('interrupt ' + ++times + '.')); hold(); say('ready')`
  const program = start(source, under())
  await program.until('ready')
  for (let i = 1; i <= 12; i++) {
    program.kill('SIGINT')
    await program.until(`interrupt ${i}.`)
  }
  program.kill('SIGTERM')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

describe('--report and --grace', () => {
  const load = (name: string) => JSON.parse(readFileSync(new URL(`../${name}.schema.json`, import.meta.url), 'utf8'))
  const ajv = new Ajv2020({ strict: true, strictTypes: false })
  ajv.addSchema(load('report'), 'exodos/report.schema.json')
  const validate = ajv.compile(load('run-report'))
  const problems = (report: unknown) => (validate(report) ? [] : validate.errors)
  const hook = (ms: number) => `onExit(async () => { await sleep(${ms}); say('hook') }, { name: 'the hook', timeout: 20_000 })`

  test.each<[string, string, NodeJS.Signals | undefined, object]>([
    ['natural end', hook(1), undefined, { exit: { code: 0 }, signals: [], reports: [{ exit: { code: 0 } }] }],
    [
      'process.exit',
      `${hook(1)}; setTimeout(() => process.exit(3), 1)`,
      undefined,
      { exit: { code: 3 }, reports: [{ exit: { code: 3 } }] },
    ],
    ['no hooks', '', undefined, { exit: { code: 0 }, reports: [], children: [] }],
    [
      'children and threads, one of them killed',
      `import { spawn } from 'node:child_process'
      import { once } from 'node:events'
      import { Worker } from 'node:worker_threads'
      const asleep = spawn('sleep', ['60'], { stdio: 'ignore' })
      asleep.kill('SIGKILL')
      await once(asleep, 'exit')
      const leaving = spawn(process.execPath, ['-e', 'require("exodos").onExit(() => {}); setInterval(() => {}, 1e3); process.send("up")'], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      await once(leaving, 'message')
      const thread = new Worker('require("exodos").onExit(() => {}); require("node:worker_threads").parentPort.on("message", () => {}).postMessage("up")', { eval: true })
      await once(thread, 'message')
      process.exit(4)`,
      undefined,
      {
        exit: { code: 4 },
        children: expect.arrayContaining([
          expect.objectContaining({ command: 'sleep 60', exit: { signal: 'SIGKILL' } }),
          expect.objectContaining({ command: expect.stringContaining(' -e '), exit: { signal: 'SIGTERM' } }),
          expect.objectContaining({ thread: 1, exit: { code: 1 } }),
        ]),
        reports: expect.arrayContaining([
          expect.objectContaining({ thread: 0, exit: { code: 4 } }),
          expect.objectContaining({ thread: 0, exit: { signal: 'SIGTERM' } }),
          expect.objectContaining({ thread: 1, reasons: [{ kind: 'worker', code: 1 }] }),
        ]),
      },
    ],
    [
      'a signal',
      `${hook(1)}; hold()`,
      'SIGTERM',
      {
        exit: { signal: 'SIGTERM' },
        signals: [{ signal: 'SIGTERM', toGroup: false }],
        reports: [{ reasons: [{ kind: 'signal', signal: 'SIGTERM' }], hooks: [{ name: 'the hook', status: 'ok' }] }],
      },
    ],
    [
      'a blocked loop, before',
      `${hook(1)}; setTimeout(function spinning() { for (;;); }, 1)`,
      'SIGTERM',
      {
        exit: { signal: 'SIGTERM' },
        blocked: [{ where: 'javascript', freed: true, stack: [expect.stringContaining('at spinning (')] }],
        reports: [{ hooks: [{ name: 'the hook', status: 'ok' }] }],
      },
    ],
    [
      'a blocked loop, in a hook',
      `onExit(() => { for (;;); }, { name: 'spins' }); hold()`,
      'SIGTERM',
      {
        exit: { signal: 'SIGKILL' },
        hangs: [{ where: 'javascript', step: expect.stringContaining('spins') }],
      },
    ],
  ])('the report keeps to its schema, and holds those of the program: %s', async (_, source, signal, expected) => {
    const program = start(`${prelude} ${source}; say('ready')`, reporting('--grace=1s', '--kill-after=3s'))
    if (signal) {
      await program.until('ready')
      program.kill(signal)
    }
    await program.ended
    expect(problems(runReport(program))).toEqual([])
    expect(runReport(program)).toMatchObject({ command: [node, expect.stringContaining('program.mjs')], ...expected })
  })

  test('a report that cannot be written costs a line', async () => {
    const ended = await run('', sh('exit 3', '--report=/nowhere/run.json'))
    expect(ended.code).toBe(3)
    expect(ended.stderr).toMatch(/^exodos run: the report could not be written: ENOENT.*\n$/)
  })

  test.each([
    ['--grace 700ms', ['--grace', '700ms'], undefined, '700ms'],
    ['--grace=2s', ['--grace=2s'], '5s', '2000ms'],
    ['EXODOS_GRACE alone', [], '5s', '5s'],
    ['neither', [], undefined, 'undefined'],
  ])('the program is given EXODOS_GRACE: %s', async (_, options, env, expected) => {
    const ended = await run('console.log(process.env.EXODOS_GRACE)', { ...under(...options), env: { EXODOS_GRACE: env } })
    expect(ended.lines).toEqual([expected])
  })

  const slow = `${prelude} configure({ grace: '20s' }); ${hook(1800)}; hold(); say('ready')`

  test('a program whose own grace period is longer is given longer', async () => {
    const ended = await runAndKill(slow, 'SIGTERM', { ...under('--kill-after=300ms'), env: { EXODOS_GRACE: '500ms' } })
    expect(ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'hook'], stderr: '' })
  })

  test('but not longer than --grace', async () => {
    const ended = await runAndKill(slow, 'SIGTERM', under('--grace=500ms', '--kill-after=300ms'))
    expect(ended).toMatchObject({ signal: 'SIGKILL', lines: ['ready'] })
    expect(ended.stderr).toMatch(/killed, 0\.[89] s after SIGTERM\n$/)
  })
})

function runReport({ dir }: Program): RunReport {
  return JSON.parse(readFileSync(join(dir, 'run.json'), 'utf8'))
}
