import { spawn } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { type Ended, node, nodeMajor, type ProgramOptions, prelude, run, runAndKill, start } from './support/program.js'
import { canUnshare } from './support/supervise.js'

/** The common program: an early hook that must run, then what the row is about, then a hook before it. */
const around = (middle: string, leave: string) => `${prelude}
onExit(() => say('rest'), { name: 'rest' })
${middle}
onExit(() => say('before'), { name: 'before' })
${leave}
say('ready')`
const waiting = 'hold()'

interface Row {
  row: string
  source: string
  kill?: NodeJS.Signals
  options?: ProgramOptions
  code?: number
  signal?: NodeJS.Signals
  /** Lines of stdout, without `ready`. */
  lines: string[]
  stderr?: '' | RegExp
  report?: object
  also?: (ended: Ended) => void
}

const slow = (name: string) => `onExit(async () => { await sleep(5); say('${name}') }, { name: '${name}' })`
const all = ['before', 'slow', 'rest']

const table: Row[] = [
  {
    row: 'E1 natural end × ok × main: all phases, 0',
    source: `${prelude}
      for (const phase of ['flush', 'release', 'save', 'drain', 'announce'])
        onExit(async () => { await sleep(1); say(phase) }, { phase, name: phase })`,
    code: 0,
    lines: ['announce', 'drain', 'save', 'release', 'flush'],
    stderr: '',
    report: { reasons: [{ kind: 'natural' }], exit: { code: 0 } },
  },
  {
    row: 'E1 natural end: what others start in beforeExit is done first, the exit code of an unsettled top-level await is kept',
    source: `${prelude}
      let once = true
      onExit(async () => { await sleep(1); say('hook') })
      process.on('beforeExit', () => { if (once) setTimeout(() => say('work of others'), 20); once = false })
      await new Promise(() => {})`,
    code: 13,
    lines: ['work of others', 'hook'],
    // Node 20 itself says nothing.
    stderr: nodeMajor < 22 ? '' : /unsettled top-level await/,
  },
  {
    row: 'E1 natural end with process.exitCode = 3',
    source: around(slow('slow'), 'process.exitCode = 3'),
    code: 3,
    lines: all,
    stderr: '',
  },
  {
    row: 'E2 natural end × ok × worker: its hooks run in it, the main thread is unaffected',
    source: `${prelude}
      import { Worker, isMainThread } from 'node:worker_threads'
      if (isMainThread) {
        onExit(() => say('main'))
        new Worker(new URL(import.meta.url)).on('exit', (code) => say('worker ended ' + code))
      } else onExit(async () => { await sleep(5); say('worker ' + isMainThread) })`,
    code: 0,
    lines: ['worker false', 'worker ended 0', 'main'],
    stderr: '',
  },
  {
    row: 'E2 process.exit in a worker: its asynchronous hooks finish',
    source: `${prelude}
      import { Worker, isMainThread } from 'node:worker_threads'
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        worker.on('exit', (code) => say('worker ended ' + code)).on('error', (error) => say('error ' + error.message))
      } else {
        onExit(async () => { await sleep(5); say('worker') })
        setTimeout(() => { process.exit(4); say('never') }, 1)
      }`,
    code: 0,
    lines: ['worker', 'worker ended 4'],
    stderr: '',
  },
  {
    row: "E2 an uncaught error in a worker: its hooks run, the main thread gets the error in 'error'",
    source: `${prelude}
      import { Worker, isMainThread } from 'node:worker_threads'
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        worker.on('exit', (code) => say('worker ended ' + code)).on('error', (error) => say('error ' + error.message))
      } else {
        onExit(async () => { await sleep(5); say('worker') })
        setTimeout(() => { throw new Error('boom') }, 1)
      }`,
    code: 0,
    lines: ['worker', 'error boom', 'worker ended 1'],
    stderr: '',
  },
  {
    row: 'E3 process.exit(3) × async: the hooks finish, 3',
    source: around(slow('slow'), `setTimeout(() => { process.exit(3); say('never') }, 1)`),
    code: 3,
    lines: all,
    stderr: '',
    report: { reasons: [{ kind: 'exit', code: 3 }], exit: { code: 3 } },
  },
  {
    row: 'E3 process.exit(3) × sync: exits as Node would',
    source: `${prelude} onExit(() => say('hook')); process.on('exit', (code) => say('exit ' + code)); process.exit(3); say('never')`,
    code: 3,
    lines: ['hook', 'exit 3'],
    stderr: '',
  },
  ...(
    [
      ['exit()', 'process.exitCode = 3; process.exit()', 3],
      ['exit(undefined)', 'process.exitCode = 3; process.exit(undefined)', 0],
      ["exit('4')", "process.exit('4')", 4],
      ['exit(-1)', 'process.exit(-1)', 255],
      ['exit(256)', 'process.exit(256)', 0],
      ['a request after the first', 'setImmediate(() => { try { process.exit(5) } catch {} }); process.exit(3)', 3],
    ] as const
  ).map(
    ([what, leave, code]): Row => ({
      row: `E3 ${what}: the code is Node's`,
      source: around(slow('slow'), `setTimeout(() => { ${leave} }, 1)`),
      code,
      lines: all,
    }),
  ),
  ...['onExit(() => { process.exitCode = 5 })', 'onExit(async () => { await sleep(1); process.exitCode = 5 })'].flatMap((hook) =>
    ['process.exit(0)', 'exit(0)'].map(
      (leave): Row => ({
        row: `E3 ${leave}, a hook sets process.exitCode (${hook}): a failure is told`,
        source: around(hook, `setTimeout(() => ${leave}, 1)`),
        code: 5,
        lines: ['before', 'rest'],
        stderr: '',
      }),
    ),
  ),
  {
    row: "E3 an 'exit' listener that throws after the hooks: its error is printed, the code kept, no request seen",
    source: around(
      slow('slow'),
      `process.on('exit', () => { throw new Error('in exit') }); setTimeout(() => process.exit(3), 1)`,
    ),
    code: 3,
    lines: all,
    stderr: /^\nError: in exit\n(?: {4}at .*\n)+\nNode.*\n$/,
  },
  {
    row: 'E3 a request that is caught, frozen and thrown on is silent all the same',
    source: around(
      slow('slow'),
      `setTimeout(() => { try { process.exit(4) } catch (request) { throw Object.freeze(request) } }, 1)`,
    ),
    code: 4,
    lines: all,
    stderr: '',
  },
  {
    row: 'E3 code that a hook of an earlier life has started may ask for the exit, and is no hook of this run',
    source: `${prelude}
      onExit(() => { setTimeout(() => exit(3), 5) }, { name: 'earlier' })
      await runExitHooks()
      onExit(async () => { await sleep(20); say('hook') })
      await runExitHooks()
      hold()`,
    code: 3,
    lines: ['hook'],
    stderr: '',
  },
  {
    row: "E10 the app calls process.removeAllListeners('SIGTERM'): ours comes back",
    source: around(slow('slow'), `process.removeAllListeners('SIGTERM'); await sleep(1); hold()`),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: all,
    stderr: '',
  },
  {
    row: 'E10 somebody takes our listener off again and again: the program goes on',
    source: `${prelude}
      process.on('newListener', (event, listener) => { if (event === 'SIGINT') queueMicrotask(() => process.removeListener(event, listener)) })
      onExit(async () => { await sleep(1); say('hook') })
      setTimeout(() => say('timer'), 5)`,
    code: 0,
    lines: ['timer', 'hook'],
    stderr: '',
  },
  {
    row: "E10 an 'exit' listener that throws before the signal is sent again: printed, death by the signal",
    source: around(slow('slow'), `process.on('exit', () => { throw new Error('in exit') }); hold()`),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: all,
    stderr: /^\nError: in exit/,
  },
  {
    row: 'E4 a listener after ours decides the code of an exit that is cut',
    source: `${prelude}
      configure({ processExit: 'cut' })
      onExit(() => { throw new Error('bad') })
      process.on('exit', () => { process.exitCode = 7 })
      process.exit(0)`,
    code: 7,
    lines: [],
  },
  {
    row: 'E1 a library alone, the app takes its listeners off: they come back with the next hook',
    source: `import { onExit } from 'exodos/lib'
      import { writeSync } from 'node:fs'
      onExit(() => writeSync(1, 'one\\n'))
      process.removeAllListeners('exit'); process.removeAllListeners('beforeExit')
      onExit(() => writeSync(1, 'two\\n'))`,
    code: 0,
    lines: ['two', 'one'],
    stderr: '',
  },
  {
    row: 'E1 the app calls process.removeAllListeners(): ours come back',
    source: around(slow('slow'), 'process.removeAllListeners()'),
    code: 0,
    lines: all,
    stderr: '',
  },
  {
    row: 'E3 exit(1.5) throws as Node does, and nothing is left',
    source: around(slow('slow'), `try { process.exit(1.5) } catch (error) { say(error.code) }`),
    code: 0,
    lines: ['ERR_OUT_OF_RANGE', ...all],
    stderr: '',
  },
  {
    row: "E3 processExit 'cut' keeps Node's behaviour",
    source: around(slow('slow'), `configure({ processExit: 'cut' }); setTimeout(() => process.exit(3), 1)`),
    code: 3,
    lines: ['before', 'rest'],
    report: { cut: true },
  },
  {
    row: "E4 process.exit(3) inside 'exit': sync hooks and fallbacks only, no re-entry, 3",
    source: `${prelude}
      process.on('exit', () => process.exit(3))
      onExit(() => say('sync'))
      onExit(async () => say('never'), { sync: () => say('fallback') })
      onExit(async () => say('never'))
      process.on('exit', () => say('never: a listener after the one that exits'))
      configure({ processExit: 'cut' })
      process.exit(0)`,
    code: 3,
    lines: ['fallback', 'sync'],
    report: { cut: true, exit: { code: 3 } },
  },
  {
    row: 'E5 reallyExit: sync hooks and fallbacks, phase by phase',
    source: `${prelude}
      onExit(() => say('flush'), { phase: 'flush' })
      onExit(async () => say('never'), { sync: () => say('save'), phase: 'save' })
      onExit(() => say('release'))
      onExit(() => say('announce'), { phase: 'announce' })
      process.reallyExit(6)`,
    code: 6,
    lines: ['announce', 'save', 'release', 'flush'],
    stderr: '',
  },
  {
    row: 'E6 uncaught error × ok: cleanup, printed once, 1',
    source: around(slow('slow'), `setTimeout(() => { throw new Error('boom') }, 1)`),
    code: 1,
    lines: all,
    stderr: /^\nError: boom\n(?: {4}at .*\n)+\nNode\.js v\d+.*\n$/,
    report: { reasons: [{ kind: 'error', error: { message: 'boom' } }], exit: { code: 1 } },
  },
  {
    row: 'E6 an uncaught error beats process.exitCode',
    source: around(slow('slow'), `process.exitCode = 3; setTimeout(() => { throw new Error('boom') }, 1)`),
    code: 1,
    lines: all,
  },
  {
    row: "E6 an error thrown by another 'exit' listener after a natural end is Node's: printed, 1",
    source: around(slow('slow'), `process.on('exit', () => { throw new Error('in exit') })`),
    code: 1,
    lines: all,
    stderr: /Error: in exit/,
  },
  {
    row: "E6 an error thrown by another 'exit' listener before ours: ours run all the same",
    source: `${prelude} process.on('exit', () => { throw new Error('in exit') }); onExit(() => say('sync')); configure({ processExit: 'cut' }); process.exit(3)`,
    code: 3,
    lines: ['sync'],
    stderr: /Error: in exit/,
  },
  {
    row: 'E6 an error after the run, while the loop runs dry: printed, 1',
    source: around(slow('slow'), `process.on('beforeExit', () => { if (exiting.aborted) throw new Error('too late') })`),
    code: 1,
    lines: all,
    stderr: /Error: too late/,
  },
  {
    row: 'E6 stack overflow',
    source: around(slow('slow'), `setTimeout(() => { const f = () => f() + 1; f() }, 1)`),
    code: 1,
    lines: all,
    stderr: /RangeError/,
  },
  {
    row: "E7 an uncaught error from inside a hook's callback: recorded, the rest run",
    source: around(
      `onExit(async () => { setTimeout(() => { throw new Error('stray') }, 1); await sleep(20); say('slow') }, { name: 'careless' })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: all,
    stderr: /error {2}from careless\n {4}Error: stray\n/,
    report: { errors: [{ hook: 'careless', error: { message: 'stray' } }] },
  },
  {
    row: 'E8 unhandled rejection × ok: as an uncaught error',
    source: around(slow('slow'), `setTimeout(() => Promise.reject(new Error('boom')), 1)`),
    code: 1,
    lines: all,
    stderr: /^\nError: boom\n/,
  },
  {
    row: 'E9 a rejection while draining: recorded, the drain goes on',
    source: `${prelude}
      onExit(async () => { Promise.reject(new Error('stray')); await sleep(10); say('drained') }, { phase: 'drain', name: 'drain' })
      onExit(() => say('released'))`,
    code: 1,
    lines: ['drained', 'released'],
    report: { errors: [{ error: { message: 'stray' } }] },
  },
  {
    row: 'E10 SIGTERM × ok × main: dies by SIGTERM',
    source: around(slow('slow'), waiting),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: all,
    stderr: '',
  },
  {
    row: "E10 'exit' is emitted once with 143 before, for other libraries",
    source: around(slow('slow'), `process.on('exit', (code) => say('exit ' + code)); hold()`),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: [...all, 'exit 143'],
    stderr: '',
  },
  {
    row: 'E10 SIGTERM × sync hooks alone',
    source: around('', waiting),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'rest'],
    stderr: '',
  },
  ...(['SIGHUP', 'SIGQUIT'] as const).map(
    (signal): Row => ({
      row: `E13 ${signal}: as SIGTERM, own signal`,
      source: around(slow('slow'), waiting),
      kill: signal,
      signal,
      lines: all,
      stderr: '',
    }),
  ),
  {
    row: "E13 a signal left to the app: it doesn't leave",
    source: around(
      slow('slow'),
      `configure({ signals: { SIGHUP: 'app' } }); process.on('SIGHUP', () => { say('reload'); clearTimeout(held) }); const held = hold()`,
    ),
    kill: 'SIGHUP',
    code: 0,
    lines: ['reload', ...all],
    stderr: '',
  },
  {
    row: 'E17 SIGTERM during start-up: the start is aborted, the half-started item undone',
    source: `${prelude}
      const undo = onExit(async () => { await sleep(1); say('undone') }, { name: 'half-started' })
      say('ready')
      try { await sleep(60_000, undefined, { signal: exiting }); say('never') } catch (error) { say(error.name); await new Promise(() => {}) }`,
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['AbortError', 'undone'],
  },
  {
    row: 'E19 SIGTERM after the end: ignored, code unchanged',
    source: `${prelude}
      onExit(async () => { await sleep(1); say('hook') })
      process.exitCode = 3
      process.on('exit', () => { process.kill(process.pid, 'SIGTERM'); const end = Date.now() + 30; while (Date.now() < end); say('exit') })`,
    code: 3,
    lines: ['hook', 'exit'],
    stderr: '',
  },
  ...(
    [
      ['E20', 'throws', `onExit(() => { throw new Error('bad') }, { name: 'bad' })`, { error: { message: 'bad' } }],
      [
        'E21',
        'rejects',
        `onExit(async () => { await sleep(1); throw new Error('bad') }, { name: 'bad' })`,
        { error: { message: 'bad' } },
      ],
      [
        'E22',
        'throws undefined',
        `onExit(() => { throw undefined }, { name: 'bad' })`,
        { error: { name: 'undefined', message: 'undefined' } },
      ],
    ] as const
  ).map(
    ([number, what, hook, error]): Row => ({
      row: `${number} SIGTERM × ${what}: the rest run, death by the signal, report`,
      source: around(hook, waiting),
      kill: 'SIGTERM',
      signal: 'SIGTERM',
      lines: ['before', 'rest'],
      stderr: /failed .* release bad/,
      report: { hooks: [{ status: 'ok' }, { name: 'bad', status: 'failed', ...error }, { status: 'ok' }] },
    }),
  ),
  {
    row: 'E23 SIGTERM × never settles: overdue, the next runs, the total is held',
    source: around(
      `for (const name of ['one', 'two', 'three']) onExit(() => new Promise(() => {}), { name }); configure({ grace: 800 })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'rest'],
    report: {
      hooks: [
        {},
        { name: 'three', status: 'overdue' },
        { name: 'two', status: 'overdue' },
        { name: 'one', status: 'overdue' },
        {},
      ],
    },
    also: ({ report }) => expect(report?.duration).toBeLessThan(800),
  },
  {
    row: 'E24 SIGTERM × settles late: recorded, not run again',
    source: around(
      `onExit(async () => { say('late begins'); await sleep(120) }, { name: 'late', timeout: 30 })
       onExit(() => sleep(200), { phase: 'flush' })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'late begins', 'rest'],
    report: { hooks: [{}, { name: 'late', status: 'overdue', late: 'ok' }, {}, {}] },
  },
  {
    row: 'E29 × thenable that calls twice: the first counts',
    source: around(
      `onExit(() => ({ then(done, fail) { done(); fail(new Error('second')); done() } }), { name: 'thenable' })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'rest'],
    stderr: '',
    report: { hooks: [{}, { name: 'thenable', status: 'ok' }, {}] },
  },
  {
    row: 'E30 × registers in this phase: runs',
    source: `${prelude}
      onExit(() => say('next phase'), { phase: 'save' })
      onExit(async () => {
        await new Promise((done) => onExit(async () => { await sleep(1); say('late'); done() }, { phase: 'drain' }))
        say('drain')
      }, { phase: 'drain' })`,
    code: 0,
    lines: ['late', 'drain', 'next phase'],
    stderr: '',
  },
  {
    row: 'E31 × registers for a passed phase: runs now, with a warning',
    source: `${prelude} onExit(() => { onExit(() => say('late'), { phase: 'drain', name: 'late' }); say('release') })`,
    code: 0,
    lines: ['release', 'late'],
    stderr: /warning {2}late was registered for drain when that was over: it runs in release/,
    report: { hooks: [{}, { name: 'late', phase: 'release', status: 'ok' }], warnings: [expect.stringContaining('late')] },
  },
  {
    row: 'E32 × registers after the end: throws',
    source: `${prelude}
      onExit(() => say('hook'))
      process.on('exit', () => { try { onExit(() => say('never'), { name: 'too late' }) } catch (error) { say(error.code + ' ' + error.message) } })`,
    code: 0,
    lines: ['hook', 'ERR_EXODOS_CLOSED the exit hooks have run and the process is leaving: too late would never be called'],
    stderr: '',
  },
  {
    row: 'E33 × cancels itself or a sibling: not called',
    source: `${prelude}
      onExit(() => say('rest'))
      const sibling = onExit(() => say('never'))
      const self = onExit(() => { self(); sibling.cancel(); say('self') })`,
    code: 0,
    lines: ['self', 'rest'],
    stderr: '',
  },
  ...['await runExitHooks()', 'await exit(0)', 'await sleep(1).then(() => runExitHooks())'].map(
    (wait): Row => ({
      row: `E34 × awaits the shutdown itself (${wait}): rejected by name, no deadlock`,
      source: around(`onExit(async () => { ${wait} }, { name: 'selfish' })`, waiting),
      kill: 'SIGTERM',
      signal: 'SIGTERM',
      lines: ['before', 'rest'],
      stderr: /hook selfish waits for the run that it is part of/,
      report: { hooks: [{}, { name: 'selfish', status: 'failed', error: { code: 'ERR_EXODOS_SELF_WAIT' } }, {}] },
    }),
  ),
  ...(
    [
      ['process.exit(0)', 9],
      ['process.exit(3)', 3],
    ] as const
  ).map(
    ([leave, code]): Row => ({
      row: `E35 ${leave} × calls process.exit(9): no re-entry, ends with ${code}`,
      source: around(
        `onExit(async () => { await sleep(1); process.exit(9); say('never') }); onExit(() => { process.exit(9); say('never') })`,
        `setTimeout(() => ${leave}, 1)`,
      ),
      code,
      lines: ['before', 'rest'],
      stderr: '',
    }),
  ),
  ...(
    [
      ['process.reallyExit(0)', 9],
      ['process.reallyExit(3)', 3],
    ] as const
  ).map(
    ([leave, code]): Row => ({
      row: `E35 ${leave} × calls process.exit(9): no re-entry, ends with ${code}`,
      source: around(`onExit(() => { process.exit(9); say('never') })`, `setTimeout(() => ${leave}, 1)`),
      code,
      lines: ['before', 'rest'],
    }),
  ),
  {
    row: "E35 process.exit in somebody's signal listener: that caller unwinds, the run goes on",
    source: around(slow('slow'), `process.on('SIGTERM', () => { say('third party'); process.exit(0) }); hold()`),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'third party', 'slow', 'rest'],
    stderr: '',
    report: { reasons: [{ kind: 'signal' }, { kind: 'exit', code: 0 }], exitRequests: { made: 1, caught: 0 } },
  },
  {
    row: 'E36 × extends in time: granted, up to the total',
    source: around(
      `onExit(async (ctx) => { for (let i = 0; i < 6; i++) { ctx.extend(60); await sleep(40) } say('slow ' + (ctx.extend('1h') < 10_000)) }, { name: 'lease', timeout: 60 })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'slow true', 'rest'],
    stderr: '',
  },
  {
    row: 'E37 × stops extending: overdue',
    source: around(
      `onExit(async (ctx) => { ctx.status('thinking'); ctx.extend(60); await sleep(40); ctx.extend(60); await new Promise(() => {}) }, { name: 'lease', timeout: 50 })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'rest'],
    stderr: /overdue .* release lease — status: thinking/,
  },
  {
    row: 'E38 × ignores its AbortSignal: abandoned at its limit',
    source: around(
      `onExit((ctx) => new Promise(() => { ctx.signal.addEventListener('abort', () => say('aborted: ' + ctx.signal.reason.code)) }), { timeout: 50 })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: ['before', 'aborted: ERR_EXODOS_ABORTED', 'rest'],
  },
  ...(
    [
      ['throws', `() => { throw new Error('no state') }`, 'state() failed: no state'],
      ['is cyclic', `() => { const a = {}; a.a = a; return a }`, expect.stringContaining('state() failed')],
      ['says something', `() => ({ open: 3 })`, { open: 3 }],
    ] as const
  ).map(
    ([what, state, said]): Row => ({
      row: `E39 × its state() ${what}: the report survives`,
      source: around(`onExit(() => new Promise(() => {}), { name: 'hung', timeout: 30, state: ${state} })`, waiting),
      kill: 'SIGTERM',
      signal: 'SIGTERM',
      lines: ['before', 'rest'],
      report: { hooks: [{}, { name: 'hung', status: 'overdue', state: said }, {}] },
    }),
  ),
  {
    row: 'E40 × logger throws: swallowed, cleanup complete',
    source: around(
      slow('slow'),
      `configure({ printError() { throw new Error('logger') } }); setTimeout(() => { throw new Error('boom') }, 1)`,
    ),
    code: 1,
    lines: all,
    stderr: /^\nError: boom/,
  },
  {
    row: 'E40 × stdout and stderr closed: cleanup complete',
    source: around(
      `import { closeSync, writeFileSync } from 'node:fs'
       onExit(async () => { await sleep(1); writeFileSync('done', ''); throw new Error('and a summary that nobody sees') })`,
      `console.log('x'); closeSync(1); closeSync(2); setTimeout(() => { throw new Error('unseen') }, 1); process.stdout.on('error', () => {})`,
    ).replace(/say\('(rest|before|ready)'\)/g, '0'),
    code: 1,
    lines: ['x'],
    report: { hooks: [{ status: 'ok' }, { status: 'failed' }, { status: 'ok' }] },
  },
  {
    row: 'E41 × 10,000 hooks: linear, no overflow',
    source: `${prelude}
      let ran = 0
      onExit(() => say(String(ran)), { phase: 'flush' })
      for (let i = 0; i < 10_000; i++) { onExit(() => { ran++ }); onExit(async () => { ran++ }, { phase: 'drain' }); onExit(async () => { ran++ }) }
      configure({ grace: '60s' })`,
    code: 0,
    lines: ['30000'],
    // To write the report of 30,000 hooks takes a starved machine more than a second, of which the watchdog tells.
    stderr:
      /^$|^exodos: the event loop has been blocked for .* in leaving: .*\n( {4}at .*\n)+(exodos: the event loop turns again after .*\n)?$/,
    also: ({ ms }) => expect(ms).toBeLessThan(10_000),
  },
  {
    row: 'E42 two copies loaded: one coordinator, one order',
    source: `${prelude}
      import * as lib from 'exodos/lib'
      onExit(() => say('app'))
      lib.onExit(async () => { await sleep(1); say('library') })
      setTimeout(() => process.exit(3), 1)`,
    code: 3,
    lines: ['library', 'app'],
    stderr: '',
    report: { hooks: [{ status: 'ok' }, { status: 'ok' }] },
  },
  {
    row: 'E44 × wall clock jumps: no effect',
    source: around(
      `onExit(async () => { const real = Date.now; Date.now = () => real() + 1e10; await sleep(80); Date.now = () => 0; await sleep(10); say('slow') }, { timeout: '1s' })`,
      waiting,
    ),
    kill: 'SIGTERM',
    signal: 'SIGTERM',
    lines: all,
    stderr: '',
  },
  {
    row: "E63 natural end × unref'd work in a hook: the loop is held, no code 13",
    source: `${prelude}
      onExit(async () => { await new Promise((resolve) => setTimeout(resolve, 30).unref()); say('unref') })
      onExit(async () => { await new Promise((resolve) => AbortSignal.timeout(30).addEventListener('abort', resolve)); say('abort') })`,
    code: 0,
    lines: ['abort', 'unref'],
    stderr: '',
  },
]

describe('table', () => {
  test.each(table)('$row', async ({ source, kill, options, code, signal, lines, stderr, report, also }) => {
    const ended = await (kill ? runAndKill(source, kill, options) : run(source, options))
    expect({ code: ended.code, signal: ended.signal, lines: ended.lines.filter((line) => line !== 'ready') }).toEqual({
      code: signal ? null : (code ?? 0),
      signal: signal ?? null,
      lines,
    })
    if (typeof stderr === 'string') expect(ended.stderr).toBe(stderr)
    else if (stderr) expect(ended.stderr).toMatch(stderr)
    if (report) expect(ended.report).toMatchObject(report)
    also?.(ended)
  })
})

describe('with other processes', () => {
  test.runIf(canUnshare())('E11 SIGTERM × ok × PID 1: 143', async () => {
    const program = start(around(slow('slow'), waiting), {
      command: (file) => ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', node, file],
    })
    await program.until('ready')
    const children = spawn('pgrep', ['-P', String(program.child.pid)], { stdio: ['ignore', 'pipe', 'ignore'] })
    const pid = await new Promise<number>((resolve) =>
      children.stdout.once('data', (data) => resolve(Number(String(data).trim()))),
    )
    process.kill(pid, 'SIGTERM')
    const ended = await program.ended
    expect(ended).toMatchObject({ code: 143, lines: ['ready', ...all], stderr: '' })
    expect(ended.report?.reasons[0]).toMatchObject({ kind: 'signal', signal: 'SIGTERM' })
  })

  test('E14 SIGTERM twice within 250 ms: one shutdown', async () => {
    const program = start(
      around(`onExit(async (ctx) => { say('begun'); await sleep(150); say('slow ' + ctx.signal.aborted) })`, waiting),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('begun')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({
      signal: 'SIGTERM',
      lines: ['ready', 'before', 'begun', 'slow false', 'rest'],
      report: { forced: false, reasons: [{ signal: 'SIGTERM' }, { signal: 'SIGTERM' }] },
    })
  })

  test('E15 SIGTERM, later SIGINT: forced, signals abort, only the reserve is left', async () => {
    const program = start(
      around(
        `configure({ grace: '20s' })
         onExit((ctx) => new Promise((done) => { setTimeout(() => say('later'), 550); ctx.signal.addEventListener('abort', () => { say('aborted'); done() }) }), { name: 'slow', timeout: '15s' })
         onExit((ctx) => say('next ' + ctx.signal.aborted), { name: 'next', priority: -1 })
         onExit(() => new Promise(() => {}), { phase: 'flush', name: 'hung' })`,
        waiting,
      ),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('later')
    program.kill('SIGINT')
    const ended = await program.ended
    expect(ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'before', 'later', 'aborted', 'rest', 'next true'] })
    expect(ended.report).toMatchObject({ forced: true, exit: { signal: 'SIGTERM' } })
    expect(ended.report?.duration).toBeLessThan(3000)
  })

  test('E16 third signal: immediate death', async () => {
    const program = start(
      around(
        `configure({ grace: '60s' })
         onExit((ctx) => new Promise(() => { setTimeout(() => say('later'), 550); ctx.signal.addEventListener('abort', () => setTimeout(() => say('latest'), 550)) }), { timeout: '50s' })`,
        waiting,
      ),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('later')
    program.kill('SIGTERM')
    await program.until('latest')
    program.kill('SIGHUP')
    const ended = await program.ended
    expect(ended.signal).toBe('SIGHUP')
    expect(ended.lines).not.toContain('rest')
  })

  test('who listens for the signal after us hears it, too, before the process ends', async () => {
    const source = `${prelude} onExit(() => say('hook')); process.on('SIGTERM', () => say('listener')); hold(); say('ready')`
    expect(await runAndKill(source, 'SIGTERM')).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'hook', 'listener'] })
  })

  test('E18 SIGTERM before the main module is loaded: default death or queued, never a hang', async () => {
    const program = start(`${prelude} onExit(async () => { await sleep(1); say('hook') }); hold()`)
    program.child.once('spawn', () => program.kill('SIGTERM'))
    const ended = await program.ended
    expect(ended.signal).toBe('SIGTERM')
  })

  test('E43 SIGSTOP, long pause, SIGCONT: the time of a hook is unspent', async () => {
    const program = start(
      around(
        `onExit(async () => { say('begun'); for (let i = 0; i < 20; i++) await sleep(10); say('slow') }, { timeout: 900 })`,
        waiting,
      ),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('begun')
    program.kill('SIGSTOP')
    const pause = spawn('sleep', ['1.5'])
    await new Promise((resolve) => pause.once('close', resolve))
    program.kill('SIGCONT')
    expect(await program.ended).toMatchObject({
      signal: 'SIGTERM',
      lines: ['ready', 'before', 'begun', 'slow', 'rest'],
      stderr: '',
    })
  })

  const forked = (middle: string) => `${prelude}
    import { fork } from 'node:child_process'
    if (process.argv[2] !== 'child') {
      const child = fork(new URL(import.meta.url), ['child'])
      child.on('message', (message) => { if (message === 'go') { ${middle} } })
      child.on('exit', (code, signal) => say('child ' + (signal ?? code)))
    } else {
      onExit(async () => { await sleep(5); say('hook') })
      hold()
      process.send('go')
    }`

  test('E45 the IPC channel closes: the child runs its hooks and leaves with 0', async () => {
    expect(await run(forked('child.disconnect()'), { env: { EXODOS_REPORT: '' } })).toMatchObject({
      code: 0,
      lines: ['hook', 'child 0'],
      stderr: '',
    })
  })

  test.each([
    'Error.stackTraceLimit = 1',
    'Error.prepareStackTrace = (_, sites) => sites',
    'const own = process.disconnect; process.disconnect = function () { return own.call(this) }; for (const off of offs) off(); onExit(async () => say("hook"))',
  ])('E45 whatever the app does with stacks and functions: %s', async (before) => {
    const source = forked('child.disconnect()')
      .replace('onExit(async', 'const offs = [onExit(async')
      .replace("say('hook') })", `say('hook') })]; ${before}`)
    expect(await run(source, { env: { EXODOS_REPORT: '' } })).toMatchObject({ code: 0, lines: ['hook', 'child 0'], stderr: '' })
  })

  test("E45 onParentLost 'stay': it goes on", async () => {
    const source = forked('child.disconnect()').replace(
      'hold()',
      `configure({ onParentLost: 'stay' }); const held = hold(); process.once('disconnect', () => { say('still here'); clearTimeout(held) })`,
    )
    expect(await run(source, { env: { EXODOS_REPORT: '' } })).toMatchObject({ code: 0, lines: ['still here', 'hook', 'child 0'] })
  })

  test('E45 a child that lets go of its parent itself goes on', async () => {
    const source = forked('').replace(
      'hold()',
      `const held = hold(); setTimeout(() => { process.disconnect(); setTimeout(() => { say('still here'); clearTimeout(held) }, 20) }, 1)`,
    )
    expect(await run(source, { env: { EXODOS_REPORT: '' } })).toMatchObject({ code: 0, lines: ['still here', 'hook', 'child 0'] })
  })

  test('E45 hooks do not keep a forked child alive, and its own message listener still does', async () => {
    const source = forked('').replace('hold()', '')
    expect(await run(source, { env: { EXODOS_REPORT: '' } })).toMatchObject({ code: 0, lines: ['hook', 'child 0'] })
  })

  test("E45 PM2's message 'shutdown': full run, 0", async () => {
    const source = forked(`child.send('shutdown')`)
    expect(await run(source, { env: { EXODOS_REPORT: '', pm_id: '0' } })).toMatchObject({
      code: 0,
      lines: ['hook', 'child 0'],
      stderr: '',
    })
  })

  test('E46 the parent is SIGKILLed: the child cleans', async () => {
    const source = forked(`setInterval(() => {}, 1000); process.kill(process.pid, 'SIGKILL')`)
    const ended = await run(source, { env: { EXODOS_REPORT: '' } })
    expect(ended).toMatchObject({ signal: 'SIGKILL', lines: ['hook'] })
  })

  test('E45 cluster: a worker whose primary lets go of it cleans and leaves with 0', async () => {
    const ended = await run(
      `${prelude}
      import cluster from 'node:cluster'
      if (cluster.isPrimary) {
        cluster.fork().on('message', (message) => cluster.disconnect())
        cluster.on('exit', (worker, code, signal) => say('child ' + (signal ?? code)))
      } else {
        onExit(async () => { await sleep(5); say('hook') })
        hold()
        process.send('go')
      }`,
      { env: { EXODOS_REPORT: '' } },
    )
    expect(ended).toMatchObject({ code: 0, lines: ['hook', 'child 0'], stderr: '' })
  })
})

describe('output', () => {
  const size = 1024 * 1024
  const ways = {
    'natural end': '',
    'process.exit, sync hooks': `onExit(() => {}); process.exit(0)`,
    'process.exit, async hooks': `onExit(async () => { await sleep(1) }); process.exit(0)`,
    'exit()': `onExit(async () => {}); exit(0)`,
    'uncaught error': `onExit(() => {}); throw new Error('boom')`,
    'unhandled rejection': `onExit(() => {}); Promise.reject(new Error('boom'))`,
    SIGTERM: `onExit(() => {}); process.kill(process.pid, 'SIGTERM'); hold()`,
    SIGINT: `onExit(async () => {}); process.kill(process.pid, 'SIGINT'); hold()`,
    "process.exit in another's listener": `onExit(() => {}); process.on('SIGTERM', () => process.exit(0)); process.kill(process.pid, 'SIGTERM'); hold()`,
  }
  test.each(Object.entries(ways))('1 MiB pending on stdout to a slow pipe arrives whole: %s', async (_, leave) => {
    const program = start(`${prelude}; onExit(() => {}); process.stdout.write('x'.repeat(${size - 1}) + '\\n'); ${leave}`, {
      command: (file) => ['sh', '-c', `"$0" "$1" | { sleep 0.3; wc -c; }`, node, file],
    })
    const ended = await program.ended
    expect(ended.stdout.trim()).toBe(String(size))
  })

  test('a reader that never reads does not hold the process', async () => {
    const program = start(
      `${prelude}; configure({ grace: '1s' }); onExit(() => {}); process.stdout.write('x'.repeat(${size})); process.exit(3)`,
      {
        command: (file) => ['sh', '-c', `{ "$0" "$1"; echo "code $?" >&2; } | { read line < /dev/null; sleep 1; }`, node, file],
      },
    )
    expect((await program.ended).stderr).toContain('code 3')
  })

  test('E58 the disk is full while the report is written: cleanup finishes, a line on stderr', async () => {
    const ended = await run(around(slow('slow'), ''), { env: { EXODOS_REPORT: '/dev/full' } })
    expect(ended).toMatchObject({ code: 0, lines: ['ready', ...all] })
    expect(ended.stderr).toMatch(/^exodos: the report could not be written: .*ENOSPC.*\n$/)
  })

  test('E58 the report goes to a pipe that nobody reads: cleanup finishes, a line on stderr', async () => {
    const ended = await run(around(slow('slow'), ''), {
      command: (file) => ['sh', '-c', 'mkfifo pipe; EXODOS_REPORT=pipe exec "$0" "$1"', node, file],
    })
    expect(ended).toMatchObject({ code: 0, lines: ['ready', ...all] })
    expect(ended.stderr).toMatch(/^exodos: the report could not be written: .*ENXIO.*\n$/)
  })
})
