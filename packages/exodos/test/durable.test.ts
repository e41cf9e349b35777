import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import {
  allNotes,
  begin,
  everything,
  failed,
  guardianOf,
  guardiansOf,
  helpersOf,
  imports,
  isClean,
  isOver,
  journals,
  kill,
  little,
  makePlace,
  notes,
  type Owner,
  owners,
  type Place,
  pidsOf,
  until,
  untilClean,
  wait,
} from './support/deaths.js'
import { node, nodeMajor, type Program, start } from './support/program.js'
import { childrenOf, isAlive } from './support/supervise.js'

const times: [way: string, ms: number][] = []

afterAll(() => {
  const rows = times.map(([way, ms]) => `${way.padEnd(40)}${ms.toFixed(0).padStart(6)} ms`)
  console.log(`From the end of the process until all is clean:\n${rows.join('\n')}`)
})

/** What ends a process whose records are of all kinds. */
interface Death {
  way: string
  /** What the program does once all is recorded. Default: waits. */
  die?: string
  /** What is done to it then. */
  kill?: (program: Program, pid: number) => void
  /** Its exit code or signal, as its parent sees it. */
  end?: number | NodeJS.Signals | RegExp
  nodeOptions?: string[]
  /** In place of `node file`. */
  command?: (file: string) => string[]
  /** In place of `everything`. */
  source?: string
  /** The first version of Node that can do it. */
  since?: number
}

const self = (signal: string) => `process.kill(process.pid, '${signal}'); hold()`
const outside = (signal: NodeJS.Signals) => (program: Program) => program.kill(signal)
const fill = 'const all = []; for (;;) all.push(new Array(10_000).fill(all.length))'
const spin = 'for (;;);'
const shell = (script: string) => (file: string) => ['/bin/sh', '-c', `${script}; exec "$0" "$1"`, node, file]

const deaths: Death[] = [
  { way: 'natural end', die: ' ', end: 0 },
  { way: 'process.exit', die: 'process.exit(3)', end: 3 },
  { way: 'E5 process.reallyExit', die: 'process.reallyExit(4)', end: 4 },
  { way: 'uncaught error', die: `setTimeout(() => { throw new Error('on purpose') })`, end: 1 },
  { way: 'unhandled rejection', die: `Promise.reject(new Error('on purpose')); hold()`, end: 1 },
  ...(['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGXCPU', 'SIGUSR2', 'SIGALRM'] as const).map((signal) => ({
    way: signal,
    kill: outside(signal),
    end: signal,
  })),
  { way: 'E53 SIGKILL', kill: outside('SIGKILL'), end: 'SIGKILL' },
  { way: 'C41 SIGSEGV', kill: outside('SIGSEGV'), end: 'SIGSEGV' },
  ...(['SIGBUS', 'SIGILL', 'SIGFPE', 'SIGTRAP', 'SIGSYS'] as const).map((signal) => ({
    way: signal,
    kill: outside(signal),
    end: signal,
  })),
  { way: 'C41 process.abort()', die: 'process.abort()', end: 'SIGABRT' },
  { way: 'E54 heap out of memory', die: fill, nodeOptions: ['--max-old-space-size=32'], end: /SIGABRT|SIGTRAP|SIGILL/ },
  {
    way: 'worker thread out of memory',
    die: `new Worker('${fill}', { eval: true, resourceLimits: { maxOldGenerationSizeMb: 16 } })`,
    end: /^1$|SIGABRT|SIGTRAP/,
  },
  {
    way: 'native stack overflow',
    die: '(function deeper(n) { return deeper(n + 1) + 1 })(0)',
    nodeOptions: ['--stack-size=60000'],
    end: 'SIGSEGV',
  },
  { way: 'CPU limit, loop blocked', die: spin, command: shell('ulimit -t 2'), end: /SIGKILL|SIGXCPU/ },
  { way: 'SIGKILL, loop blocked', die: spin, kill: outside('SIGKILL'), end: 'SIGKILL' },
  { way: 'SIGKILL by itself in a hook', die: `onExit(() => { ${self('SIGKILL')} }); process.exit()`, end: 'SIGKILL' },
  { way: 'SIGKILL by a worker thread', die: `new Worker(\`${self('SIGKILL')}\`, { eval: true })`, end: 'SIGKILL' },
  {
    way: 'SIGKILL right after tempDir()',
    source: `${imports} say('ready'); tempDir({ parent: work }); ${self('SIGKILL')}`,
    end: 'SIGKILL',
  },
  { way: 'SIGKILL to the process group', kill: ({ child }) => process.kill(-(child.pid as number), 'SIGKILL'), end: 'SIGKILL' },
  {
    way: 'SIGSTOP, SIGKILL',
    kill: (program) => {
      program.kill('SIGSTOP')
      program.kill('SIGKILL')
    },
    end: 'SIGKILL',
  },
  {
    way: 'timeout -s KILL',
    command: (file) => ['timeout', '-s', 'KILL', '60', node, file],
    // Which is how its time ends.
    kill: outside('SIGALRM'),
  },
  {
    way: 'parent died, IPC',
    // Only an application follows its parent; a library doesn't decide that.
    die: 'onExit(() => {}); hold()',
    command: (file) => [node, '-e', `require('node:child_process').fork(${JSON.stringify(file)})`],
    kill: outside('SIGKILL'),
  },
  {
    way: 'process.execve, then the end',
    die: `process.execve('/bin/sleep', ['sleep', '0.1'])`,
    end: 0,
    since: 24,
  },
]

describe('a death leaves nothing behind: no tree, file, group of processes, socket, lock; command and call are done once', () => {
  for (const { way, die = 'hold()', kill, end, nodeOptions, command, source, since = 0 } of deaths) {
    test.skipIf(nodeMajor < since)(way, async () => {
      const options = { ...(nodeOptions && { nodeOptions }), ...(command && { command }) }
      const owner = await begin(source ?? `${everything} say('ready'); ${die}`, options)
      kill?.(owner.program, owner.pid)
      times.push([way.replace(/^[CE]\d+ /, ''), await untilClean(owner, source ? [] : allNotes)])
      const { code, signal } = await owner.program.ended
      if (end instanceof RegExp) expect(String(signal ?? code)).toMatch(end)
      else if (end !== undefined) expect(signal ?? code).toBe(end)
      expect([...owners(owner.place), ...failed(owner.place)]).toEqual([])
    })
  }

  test('C90 register, SIGKILL: cleaned soon after the end of the process', async () => {
    const owner = await begin(`${imports} tempDir({ parent: work }); ${wait}`)
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, one directory', await untilClean(owner, [])])
  })

  for (const signal of ['SIGHUP', 'SIGQUIT', 'SIGTERM', 'SIGINT', 'SIGKILL'] as const) {
    test(`C91 ${signal} to the whole process group`, async () => {
      const owner = await begin(`${little} ${wait}`)
      process.kill(-owner.pid, signal)
      await untilClean(owner, ['command'])
      expect((await owner.program.ended).signal).toBe(signal)
    })
  }

  const group = memoryGroup()
  const fill = 'const all = []; for (;;) all.push(Buffer.alloc(1e6, 1))'
  test.skipIf(!group)(`out of memory in a control group${group ? '' : ' (none can be made here)'}`, async () => {
    const { dir, limit } = group as Group
    mkdirSync(dir)
    try {
      writeFileSync(join(dir, limit), String(200 * 2 ** 20))
      const inside = ['/bin/sh', '-c', 'echo $$ > "$0/cgroup.procs"; exec "$@"', dir]
      const owner = await begin(`${everything} say('ready'); ${fill}`, { command: (file) => [...inside, node, file] })
      times.push(['killed by the kernel, out of memory', await untilClean(owner, allNotes)])
      expect((await owner.program.ended).signal).toBe('SIGKILL')
    } finally {
      await until('an empty group', () => readFileSync(join(dir, 'cgroup.procs'), 'utf8') === '')
      rmdirSync(dir)
    }
  })
})

interface Group {
  readonly dir: string
  /** The file that takes the limit. */
  readonly limit: string
}

/** A control group that can be made, of either version; undefined where none may be. */
function memoryGroup(): Group | undefined {
  for (const [root, limit] of [
    ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
    ['/sys/fs/cgroup', 'memory.max'],
  ] as const) {
    const dir = join(root, `exodos-test-${process.pid}`)
    try {
      mkdirSync(dir)
      const isOfMemory = existsSync(join(dir, limit))
      rmdirSync(dir)
      if (isOfMemory) return { dir, limit }
    } catch {
      // Not permitted, or not there.
    }
  }
  return undefined
}

describe('guardian', () => {
  test('C92 the guardian is killed: replaced, journal intact', async () => {
    const owner = await begin(`${little} ${wait}`)
    const { place, pid } = owner
    const written = journals(place)
    const first = await guardianOf(place, pid)
    kill(first)
    const second = await guardianOf(place, pid, first)
    expect(journals(place)).toBe(written)
    expect(childrenOf(pid)).toEqual([second])
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, guardian replaced', await untilClean(owner, ['command'])])
  })

  test('C93 a grandchild inherits everything it can and outlives: cleanup not delayed', async () => {
    const shell = `exec 7>"$PLACE/seven" 8<"$0"; exec "$0" "$1"`
    const owner = await begin(
      `${little}
      const script = 'setsid sleep 600 & echo $! > "$PLACE/outlives"; setsid sleep 600'
      spawn('/bin/sh', ['-c', script], { detached: true, stdio: ['inherit', 'inherit', 'inherit', 'ipc', 'pipe', 'pipe', 'pipe', 7, 8] })
      durable.path(work + '/later')
      ${wait}`,
      { command: (file) => ['/bin/sh', '-c', shell, node, file] },
    )
    const outlives = await until('the grandchild', () => {
      const file = join(owner.place.dir, 'outlives')
      return existsSync(file) && Number(readFileSync(file, 'utf8'))
    })
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, a grandchild outlives', await untilClean(owner, ['command'])])
    expect(isAlive(outlives)).toBe(true)
  })

  test('E55 the guardian is killed again and again: status() tells, and the next start cleans', async () => {
    const tell = 'setInterval(() => say(JSON.stringify(durable.status())), 20)'
    const { place, program, pid } = await begin(`${little} ${tell}; ${wait}`)
    await until('no guardian', () => {
      for (const guardian of guardiansOf(place, pid)) kill(guardian)
      return program.printed().includes('"guarded":false') && guardiansOf(place, pid).length === 0
    })
    expect(program.printed()).toMatch(/"guarded":true/)
    expect(program.printed()).toMatch(/"guarded":false.*"reason":"the guardian was killed again and again"/)
    program.kill('SIGKILL')
    await program.ended
    expect(isClean(place)).toBe(false)
    await untilClean(await begin(`${imports} durable.status(); say('ready')`, {}, place), ['command'])
  })

  /** The stopped guardian doesn't get round to its work, nor the owner to replacing it. */
  async function killBoth(): Promise<Place> {
    const { place, program, pid } = await begin(`${everything} ${wait}`)
    const guardian = await guardianOf(place, pid)
    kill(guardian, 'SIGSTOP')
    kill(pid)
    await program.ended
    kill(guardian)
    await until('no guardian', () => !isAlive(guardian))
    expect(readdirSync(place.work)).toHaveLength(4)
    return place
  }

  test.each([
    ['makes a record', 'tempFile({ parent: work }).removeSync()'],
    ['makes a record, and leaves at once', 'tempFile({ parent: work }); setImmediate(() => process.exit())'],
    [
      'makes a record, and is killed',
      `tempFile({ parent: work }); say('ready'); setTimeout(() => process.kill(process.pid, 'SIGKILL'), 100)`,
    ],
  ])('E56 guardian and owner are killed together: cleaned by the next program that %s', async (_, next) => {
    const place = await killBoth()
    await untilClean(await begin(`${imports} say('ready'); ${next}`, {}, place), allNotes)
  })

  test('E56 guardian and owner are killed together: cleaned by durable.recover()', async () => {
    const place = await killBoth()
    const source = `${imports}
      const { done, left, failed } = await durable.recover()
      say([...done.map(({ kind }) => kind).sort(), left.length, failed.length].join(' '))`
    const { lines } = await start(source, { env: place.env }).ended
    expect(lines).toEqual(['call command lock path path process socket 0 0'])
    expect(isClean(place, allNotes)).toBe(true)
    await until('nobody is at work', () => isOver(place))
    expect(notes(place)).toEqual(allNotes)
  })

  test('C96 released twice: no error', async () => {
    const place = makePlace()
    const { lines, stderr, code } = await start(
      `${imports}
      const twice = async (name, ...acts) => { for (const act of acts) { await act(); await act() } say(name) }
      const temp = tempDir({ parent: work })
      await twice('tempDir', () => temp.remove(), () => temp.removeSync(), () => temp.keep(), () => temp[Symbol.asyncDispose]())
      const lock = await lockFile(work + '/lock')
      await twice('lock', () => lock.release(), () => lock[Symbol.asyncDispose]())
      const records = {
        path: durable.path(work + '/path'), socket: durable.socket(work + '/socket'),
        process: durable.process(spawn('/bin/sleep', ['600'])), command: noteWhenDone(),
        call: durable.call({ module: pathToFileURL(place + '/note.mjs'), export: 'note', args: [log] }),
      }
      for (const [name, record] of Object.entries(records))
        await twice(name, () => record.run(), () => record.runSync(), () => record.cancel(), () => record[Symbol.asyncDispose]())
      const kept = durable.path(work + '/kept')
      await twice('cancelled', () => kept.cancel(), () => kept.run(), () => kept.made())
      say(durable.status().records)`,
      { env: place.env },
    ).ended
    expect(lines).toEqual(['tempDir', 'lock', 'path', 'socket', 'process', 'command', 'call', 'cancelled', '0'])
    expect([stderr, code]).toEqual(['', 0])
    expect(notes(place)).toEqual(allNotes)
  })
})

describe('a clean exit', () => {
  const ways: [way: string, leave: string, end: number | string, stderr: RegExp][] = [
    ['natural end', 'process.stdin.destroy()', 0, /^$/],
    ['process.exit', 'process.exit(3)', 3, /^$/],
    ['SIGTERM', `process.kill(process.pid, 'SIGTERM')`, 'SIGTERM', /^$/],
    ['uncaught error', `throw new Error('on purpose')`, 1, /^((?!exodos:).)*Error: on purpose/s],
    // The other way round: what is looked for would be seen.
    ['not one: SIGKILL', `process.kill(process.pid, 'SIGKILL')`, 'SIGKILL', /^$/],
  ]
  test.each(ways)(
    'C97 guardian gone, no zombie, no owner left, no Node started, nothing on stderr: %s',
    async (way, leave, end, stderr) => {
      const source = `${imports} tempDir({ parent: work }); await lockFile(work + '/lock')
      process.stdin.once('data', () => { ${leave} }); say('ready')`
      const { place, program, pid } = await begin(source, { stdio: ['pipe', 'pipe', 'pipe'] })
      const guardian = await guardianOf(place, pid)
      expect(childrenOf(pid).filter((child) => !isAlive(child))).toEqual([])
      // Whoever is started now says so.
      const executor = readdirSync(place.state).find((name) => name.startsWith('executor-')) as string
      const trace = join(place.dir, 'trace')
      writeFileSync(join(place.state, executor), `require('node:fs').writeFileSync(${JSON.stringify(trace)}, '')`)
      program.child.stdin?.write('leave\n')
      const ended = await program.ended
      expect(ended.signal ?? ended.code).toBe(end)
      expect(ended.stderr).toMatch(stderr)
      await until('the guardian is gone', () => !isAlive(guardian))
      const isClean = !way.startsWith('not')
      expect(existsSync(trace)).toBe(!isClean)
      expect(owners(place)).toHaveLength(isClean ? 0 : 1)
      expect(readdirSync(place.work)).toHaveLength(isClean ? 0 : 2)
    },
  )
})

describe('nobody waits for the guardian', () => {
  // It works until it is told to end.
  const slow = `${imports} tempDir({ parent: work })
    durable.command(['/bin/sh', '-c', 'until [ -e "$0/go" ]; do sleep 0.02; done; echo command >> "$0/log"', place])
    writeFileSync(place + '/pids', JSON.stringify({ pid: process.pid })); say('ready');`
  const die = `process.kill(process.pid, 'SIGKILL')`

  async function untilTold(owner: Owner): Promise<void> {
    expect(helpersOf(owner.place).length).toBeGreaterThan(0)
    expect(notes(owner.place)).toEqual([])
    for (const helper of helpersOf(owner.place)) expect(terminalsOf(helper)).toEqual([])
    writeFileSync(join(owner.place.dir, 'go'), '')
    await untilClean(owner, ['command'])
  }

  test('$(node app) returns at once', async () => {
    const place = makePlace()
    const command = (file: string) => ['/bin/sh', '-c', 'x=$("$0" "$1"); echo "got $x"', node, file]
    const program = start(`${slow} ${die}`, { env: place.env, command })
    expect((await program.ended).lines).toEqual(['got ready'])
    await untilTold({ place, program, pid: pidsOf(place).pid as number })
  })

  const inTerminal = (file: string) => ['script', '-qec', `exec '${node}' '${file}'`, '/dev/null']

  test('a terminal, its program was killed', async () => {
    const owner = await begin(`${slow} ${die}`, { command: inTerminal })
    await owner.program.ended
    await untilTold(owner)
  })

  test('a terminal that is closed', async () => {
    const owner = await begin(`${slow} hold()`, { command: inTerminal })
    const guardian = await guardianOf(owner.place, owner.pid)
    expect(terminalsOf(owner.pid)).not.toEqual([])
    expect(terminalsOf(guardian)).toEqual([])
    owner.program.kill('SIGKILL')
    writeFileSync(join(owner.place.dir, 'go'), '')
    await untilClean(owner, ['command'])
  })

  /** The number of its controlling terminal, and those that it has open. */
  function terminalsOf(pid: number): string[] {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
      const controlling = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[4] as string
      const open = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
      return [...(controlling === '0' ? [] : [controlling]), ...open.filter((target) => /pts|tty/.test(target))]
    } catch {
      // It has ended.
      return []
    }
  }
})

describe('worker threads', () => {
  interface Row {
    way: string
    inWorker?: string
    inMain?: string
    /** Absent: the process lives on. */
    signal?: NodeJS.Signals
    limits?: string
  }
  const rows: Row[] = [
    { way: 'natural end' },
    { way: 'process.exit', inWorker: 'process.exit(3)' },
    { way: 'process.reallyExit', inWorker: 'process.reallyExit(3)' },
    { way: 'uncaught error', inWorker: `throw new Error('on purpose')` },
    { way: 'terminate()', inWorker: `hold(); parentPort.postMessage('')`, inMain: 'worker.terminate()' },
    { way: 'terminate(), loop blocked', inWorker: `parentPort.postMessage(''); for (;;);`, inMain: 'worker.terminate()' },
    { way: 'SIGKILL to the process', inWorker: 'hold()', signal: 'SIGKILL' },
    {
      way: 'out of memory',
      inWorker: 'const all = []; for (;;) all.push(new Array(10_000).fill(all.length))',
      limits: 'maxOldGenerationSizeMb: 24',
    },
  ]
  for (const { way, inWorker = '', inMain = '', signal, limits = '' } of rows) {
    for (const guarded of [true, false]) {
      test(`${way}, main thread ${guarded ? 'with' : 'without'} a guardian`, async () => {
        const { place, program, pid } = await begin(`${imports}
          if (isMainThread) {
            ${guarded ? 'durable.status()' : ''}
            const worker = new Worker(new URL(import.meta.url), { resourceLimits: { ${limits} } })
            worker.on('error', () => {}).on('message', () => { ${inMain} }).on('exit', () => say('ended'))
            hold()
          } else {
            tempDir({ parent: work }); noteWhenDone(); await lockFile(work + '/lock')
            say('ready')
            ${inWorker}
          }`)
        if (signal) program.kill(signal)
        // Beside the main thread's own.
        await until('all is clean', () => isClean(place, ['command']) && (signal || owners(place).length <= (guarded ? 1 : 0)))
        // Some versions of Node give up when a thread has no memory.
        if (!signal && !limits) expect([program.child.exitCode, program.child.signalCode]).toEqual([null, null])
        await until('no zombie', () => childrenOf(pid).every(isAlive))
        program.kill('SIGKILL')
        await untilClean({ place, program, pid }, ['command'])
        expect(readdirSync(place.state).filter((name) => !/^(owners|executor-\w+\.cjs)$/.test(name))).toEqual([])
      })
    }
  }

  test('the lock of one that was terminated is free', async () => {
    const place = makePlace()
    const { lines, stderr, code } = await start(
      `${imports}
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        await once(worker, 'message')
        say(await lockFile(work + '/lock').catch(({ code }) => code))
        await worker.terminate()
        const lock = await lockFile(work + '/lock', { wait: '10s' })
        say(lock.isHeld())
      } else {
        await lockFile(work + '/lock')
        parentPort.postMessage('')
        hold()
      }`,
      { env: place.env },
    ).ended
    expect([...lines, stderr, code]).toEqual(['ERR_EXODOS_LOCKED', 'true', '', 0])
    await until('all is clean', () => isClean(place) && isOver(place))
  })
})

describe('elsewhere', () => {
  const status = 'say(JSON.stringify(durable.status()));'

  const unshare = ['unshare', '--mount', ...(process.getuid?.() === 0 ? [] : ['--map-root-user'])]
  const hide = 'mount --bind /dev/null "$(readlink -f /bin/sh)" && exec "$0" "$1"'
  const canHide = spawnSync('unshare', [...unshare.slice(1), '/bin/sh', '-c', hide, '/bin/true']).status === 0
  test.skipIf(!canHide)(`without /bin/sh${canHide ? '' : ' (unshare --mount is not permitted here)'}`, async () => {
    const source = `${imports} tempDir({ parent: work }); await lockFile(work + '/lock')
      durable.call({ module: pathToFileURL(place + '/note.mjs'), export: 'note', args: [log] }); ${status} ${wait}`
    const owner = await begin(source, { command: (file) => [...unshare, '/bin/sh', '-c', hide, node, file] })
    expect(owner.program.printed()).toContain('"guarded":true')
    const guardian = await guardianOf(owner.place, owner.pid)
    expect(readFileSync(`/proc/${guardian}/cmdline`, 'utf8')).not.toContain('/bin/sh')
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, without /bin/sh', await untilClean(owner, ['call'])])
  })

  test.each([
    ['in /proc', () => '/proc/exodos/state'],
    ['below a file', ({ dir }: Place) => join(dir, 'note.mjs/state')],
  ])('without a writable state directory, %s: status() tells, and SIGKILL is cleaned', async (_, stateDir) => {
    const place = makePlace()
    const env = { EXODOS_STATE_DIR: stateDir(place) }
    const owner = await begin(`${everything} ${status} ${wait}`, { env }, place)
    const told = JSON.parse(owner.program.printed().split('\n')[0] as string)
    expect(told).toMatchObject({ guarded: true, records: 7, reason: expect.stringMatching(/^no directory for records: /) })
    expect(told).not.toHaveProperty('stateDir')
    const [guardian = 0, ...others] = childrenOf(owner.pid).filter((child) => child !== pidsOf(place).group)
    expect(others).toEqual([])
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, no state directory', await untilClean(owner, allNotes)])
    await until('the guardian is gone', () => !isAlive(guardian))
    expect(notes(place)).toEqual(allNotes)
  })

  test('two copies of exodos: one guardian, both cleaned', async () => {
    const place = makePlace()
    cpSync(fileURLToPath(new URL('../dist', import.meta.url)), join(place.dir, 'copy/dist'), { recursive: true })
    writeFileSync(join(place.dir, 'copy/package.json'), '{ "type": "module" }')
    const source = `${little}
      const copy = await import(pathToFileURL(place + '/copy/dist/temp.js'))
      copy.tempDir({ parent: work }); ${wait}`
    const owner = await begin(source, {}, place)
    expect(readdirSync(place.work)).toHaveLength(2)
    await guardianOf(place, owner.pid)
    expect(childrenOf(owner.pid)).toHaveLength(1)
    owner.program.kill('SIGKILL')
    times.push(['SIGKILL, two copies', await untilClean(owner, ['command'])])
  })
})
