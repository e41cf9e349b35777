import { expect, test } from 'vitest'
import { node, type ProgramOptions, prelude, run } from './support/program.js'

/**
 * The places from which a program calls `process.exit(42)` while an asynchronous hook is registered.
 *
 * Everywhere the hook finishes and the code is 42. What differs is who gets to see the request that unwinds the caller:
 * - `silent`: nobody. stderr is empty and no code after `process.exit` runs.
 * - `seen`: user code catches it; what follows in that code runs until the run ends, and the report counts it.
 * - `cut`: user code catches it and asks again for ever: the process leaves without waiting for the hook.
 */
interface Place extends Pick<ProgramOptions, 'ext' | 'nodeOptions' | 'command'> {
  name: string
  source: string
  expected: 'silent' | 'seen' | 'cut'
  /** Lines of stdout. Default: the hook's alone. */
  stdout?: string[]
  /** Default: empty. */
  stderr?: RegExp
  /** Default 42. */
  code?: number
  /** The code in the report, where that is written before the code is asked for. */
  reported?: number
  /** Requests that user code caught. Default 1 where seen, else 0; NaN where their number depends on timing. */
  caught?: number
}

/** All that a `catch (error) { console.error(error) }` shows. */
const ONE_LINE = /^\[?ExitRequest: process\.exit\(\d+\) was called: [^\n]*\]?\n$/

/** What people are told when a hook was cut. */
const SUMMARY = /^exodos: exit\(42\): [^\n]*\n {2}cut [^\n]*\n$/

const AT_EXIT = `onExit(async () => { await sleep(20); say('hook') }); const timer = hold();`
const esm = (source: string) => `${prelude}${AT_EXIT}\n${source}`
const cjs = (source: string) =>
  `const { onExit } = require('exodos');
  const say = (text) => require('node:fs').writeSync(1, text + '\\n')
  const sleep = require('node:timers/promises').setTimeout
  const hold = () => setTimeout(() => {}, 60_000)
  ${AT_EXIT}\n${source}`

/** Node 20 and 22 warn of `require()` of an ES module; nothing else is hidden. */
const REQUIRE_ESM = ['--disable-warning=ExperimentalWarning']

const LEAVE = `process.exit(42); say('after')`

const YARGS = `yargs([]).command('$0', 'd', () => {}, async () => { await sleep(1); ${LEAVE} }).showHelpOnFail(false).parse()`

const places: Place[] = [
  // Where a program begins.
  { name: 'CommonJS, top level', ext: 'cjs', nodeOptions: REQUIRE_ESM, source: cjs(LEAVE), expected: 'silent' },
  { name: 'ES module, top level', source: esm(LEAVE), expected: 'silent' },
  { name: 'ES module, after a top-level await', source: esm(`await sleep(1); ${LEAVE}`), expected: 'silent' },
  {
    name: 'ES module imported by another',
    source: esm(`await import('data:text/javascript,process.exit(42);console.log("after")'); say('after')`),
    expected: 'silent',
  },
  {
    name: 'node -e',
    source: '',
    command: () => [node, ...REQUIRE_ESM, '-e', cjs(LEAVE)],
    expected: 'silent',
  },
  {
    name: 'node -e, ES module',
    source: '',
    command: () => [node, '--input-type=module', '-e', esm(LEAVE)],
    expected: 'silent',
  },
  {
    name: 'node -p',
    source: '',
    command: () => [node, ...REQUIRE_ESM, '-p', cjs(LEAVE)],
    expected: 'silent',
  },
  {
    name: 'script on stdin',
    ext: 'cjs',
    source: cjs(LEAVE),
    command: (file) => ['sh', '-c', `exec '${node}' ${REQUIRE_ESM} < '${file}'`],
    expected: 'silent',
  },
  {
    name: 'ES module on stdin',
    source: esm(LEAVE),
    command: (file) => ['sh', '-c', `exec '${node}' --input-type=module < '${file}'`],
    expected: 'silent',
  },

  // Callbacks of the event loop.
  { name: 'setTimeout', source: esm(`setTimeout(() => { ${LEAVE} }, 1)`), expected: 'silent' },
  { name: 'setInterval', source: esm(`setInterval(() => { ${LEAVE} }, 1)`), expected: 'silent' },
  { name: 'setImmediate', source: esm(`setImmediate(() => { ${LEAVE} })`), expected: 'silent' },
  { name: 'process.nextTick', source: esm(`process.nextTick(() => { ${LEAVE} })`), expected: 'silent' },
  { name: 'queueMicrotask', source: esm(`queueMicrotask(() => { ${LEAVE} })`), expected: 'silent' },
  {
    name: 'fs callback',
    source: esm(`import { readFile } from 'node:fs'; readFile(process.argv[1], () => { ${LEAVE} })`),
    expected: 'silent',
  },
  {
    name: 'http request handler',
    source: esm(`
      import { createServer, get } from 'node:http'
      const server = createServer(() => { ${LEAVE} })
      server.listen(0, '127.0.0.1', () => get({ port: server.address().port, host: '127.0.0.1' }, () => say('answered')))`),
    expected: 'silent',
  },
  {
    name: "child process 'exit' listener",
    source: esm(`
      import { spawn } from 'node:child_process'
      spawn(process.execPath, ['-e', '0']).on('exit', () => { ${LEAVE} })`),
    expected: 'silent',
  },
  {
    name: 'message port listener',
    source: esm(`
      const { port1, port2 } = new MessageChannel()
      port1.onmessage = () => { ${LEAVE} }
      port2.postMessage(1)`),
    expected: 'silent',
  },

  // Promises.
  { name: 'promise then', source: esm(`Promise.resolve().then(() => { ${LEAVE} })`), expected: 'silent' },
  {
    name: 'promise then, with a finally after it',
    source: esm(`Promise.resolve().then(() => { ${LEAVE} }).finally(() => say('finally'))`),
    expected: 'silent',
    stdout: ['finally', 'hook'],
  },
  { name: 'async function', source: esm(`async function main() { ${LEAVE} }; main()`), expected: 'silent' },
  {
    name: 'async function, after an await',
    source: esm(`async function main() { await sleep(1); ${LEAVE} }; main().then(() => say('then'))`),
    expected: 'silent',
  },
  ...['strict', 'warn', 'warn-with-error-code', 'none', 'throw'].flatMap((mode): Place[] => [
    {
      name: `async function, --unhandled-rejections=${mode}`,
      nodeOptions: [`--unhandled-rejections=${mode}`],
      source: esm(`async function main() { await sleep(1); ${LEAVE} }; main()`),
      expected: 'silent',
    },
    {
      // Strict mode reports each rejection twice; the count of the caught must not suffer.
      name: `one caught, one not, --unhandled-rejections=${mode}`,
      nodeOptions: [`--unhandled-rejections=${mode}`],
      source: esm(`try { process.exit(42) } catch {}; async function main() { ${LEAVE} }; main()`),
      expected: 'seen',
    },
  ]),
  {
    name: 'finally',
    source: esm(`try { ${LEAVE} } finally { say('finally') }; say('after')`),
    expected: 'silent',
    stdout: ['finally', 'hook'],
  },
  {
    name: 'for await over an async generator',
    source: esm(`
      async function* numbers() { try { yield 1; yield 2 } finally { say('returned') } }
      for await (const _ of numbers()) { ${LEAVE} }`),
    expected: 'silent',
    stdout: ['returned', 'hook'],
  },
  {
    name: 'inside an async generator',
    source: esm(`async function* numbers() { yield 1; ${LEAVE} }; for await (const _ of numbers()) {} say('after')`),
    expected: 'silent',
  },
  {
    name: 'inside an iterator',
    source: esm(
      `const numbers = { [Symbol.iterator]: () => ({ next() { ${LEAVE} } }) }; for (const _ of numbers) {} say('after')`,
    ),
    expected: 'silent',
  },
  {
    name: 'AsyncLocalStorage.run',
    source: esm(`
      import { AsyncLocalStorage } from 'node:async_hooks'
      const storage = new AsyncLocalStorage()
      onExit(async () => { await sleep(1); say('store: ' + storage.getStore()) })
      storage.run('request', () => { ${LEAVE} })
      say('after')`),
    expected: 'silent',
    stdout: ['store: undefined', 'hook'],
  },

  // Listeners.
  {
    name: 'EventEmitter listener',
    source: esm(`
      import { EventEmitter } from 'node:events'
      const emitter = new EventEmitter()
      emitter.on('go', () => { ${LEAVE} })
      emitter.on('go', () => say('after'))
      emitter.emit('go')`),
    expected: 'silent',
  },
  {
    name: 'async EventEmitter listener whose rejections are captured',
    source: esm(`
      import { EventEmitter } from 'node:events'
      const emitter = new EventEmitter({ captureRejections: true })
      emitter.on('go', async () => { ${LEAVE} })
      emitter.emit('go')`),
    expected: 'silent',
  },
  {
    name: 'EventTarget listener',
    source: esm(
      `const target = new EventTarget(); target.addEventListener('go', () => { ${LEAVE} }); target.dispatchEvent(new Event('go'))`,
    ),
    expected: 'silent',
  },
  {
    name: 'diagnostics channel subscriber',
    source: esm(`
      import { channel } from 'node:diagnostics_channel'
      channel('go').subscribe(() => { ${LEAVE} })
      channel('go').publish({})`),
    expected: 'silent',
  },
  {
    name: "the app's 'uncaughtException' listener",
    source: esm(`process.on('uncaughtException', () => { ${LEAVE} }); setTimeout(() => { throw new Error('fatal') })`),
    expected: 'silent',
  },
  {
    name: "the app's 'unhandledRejection' listener",
    source: esm(`process.on('unhandledRejection', () => { ${LEAVE} }); Promise.reject(new Error('fatal'))`),
    expected: 'silent',
  },
  {
    name: "the app has an 'uncaughtException' and an 'unhandledRejection' listener",
    source: esm(`
      process.on('uncaughtException', (error) => say('uncaught ' + error))
      process.on('uncaughtExceptionMonitor', (error) => say('monitor ' + error))
      process.on('unhandledRejection', (error) => say('unhandled ' + error))
      setTimeout(() => { ${LEAVE} })
      setTimeout(async () => { ${LEAVE} })`),
    expected: 'silent',
  },
  {
    name: "'beforeExit' listener",
    source: esm(`clearTimeout(timer); process.on('beforeExit', () => { ${LEAVE} })`),
    expected: 'silent',
  },
  {
    name: "'exit' listener, at a natural end",
    source: esm(`clearTimeout(timer); process.on('exit', () => { ${LEAVE} })`),
    expected: 'silent',
    reported: 0,
  },
  {
    name: "'exit' listener that asks for another code than process.exit did",
    source: esm(`process.on('exit', () => { say('exit'); process.exit(7); say('after') }); ${LEAVE}`),
    expected: 'silent',
    stdout: ['hook', 'exit'],
  },
  {
    name: "'exit' listener that asks for the same code",
    source: esm(`process.on('exit', () => { say('exit'); ${LEAVE} }); ${LEAVE}`),
    expected: 'silent',
    stdout: ['hook', 'exit'],
  },

  // Streams.
  {
    name: "stream 'data' listener",
    source: esm(`import { Readable } from 'node:stream'; Readable.from(['a', 'b']).on('data', () => { ${LEAVE} })`),
    expected: 'silent',
  },
  {
    name: "stream 'end' listener",
    source: esm(`import { Readable } from 'node:stream'; Readable.from(['a']).on('end', () => { ${LEAVE} }).resume()`),
    expected: 'silent',
  },
  {
    name: 'write of a Writable',
    source: esm(`import { Writable } from 'node:stream'; new Writable({ write() { ${LEAVE} } }).write('a'); say('after')`),
    expected: 'silent',
  },
  {
    name: 'stream.pipeline, in a generator: its callback gets it',
    source: esm(`
      import { pipeline, Readable } from 'node:stream'
      pipeline(Readable.from(['a']), async function* (source) { for await (const _ of source) { ${LEAVE} } }, (error) => say(error.name))`),
    expected: 'seen',
    stdout: ['ExitRequest', 'hook'],
  },

  // Domains: an error listener there is as good as a catch, so they are left before anything is thrown.
  ...[
    ['at once', `${LEAVE}`],
    ['in a timer', `setTimeout(() => { ${LEAVE} })`],
    ['in a tick', `process.nextTick(() => { ${LEAVE} })`],
    ['in an async function', `(async () => { await sleep(1); ${LEAVE} })()`],
    ['in a domain within', `const inner = domain.create(); inner.on('error', () => say('inner')); inner.run(() => { ${LEAVE} })`],
    [
      'in an emitter',
      `const emitter = new EventEmitter(); emitter.on('go', () => { ${LEAVE} }); setTimeout(() => emitter.emit('go'))`,
    ],
  ].map(
    ([where, source]): Place => ({
      name: `domain with an error listener, ${where}`,
      source: esm(`
        import domain from 'node:domain'
        import { EventEmitter } from 'node:events'
        const outer = domain.create()
        outer.on('error', (error) => say('domain ' + error))
        outer.run(() => { ${source} })`),
      expected: 'silent',
    }),
  ),

  // Frameworks that call user code.
  {
    name: 'commander action',
    source: esm(
      `import { Command } from 'commander'; new Command().action(() => { ${LEAVE} }).parse(['node', 'x']); say('after')`,
    ),
    expected: 'silent',
  },
  {
    name: 'commander async action',
    source: esm(`
      import { Command } from 'commander'
      await new Command().action(async () => { await sleep(1); ${LEAVE} }).parseAsync(['node', 'x'])
      say('after')`),
    expected: 'silent',
  },
  {
    name: "commander's own exit for --help, before any action",
    source: esm(`
      import { Command } from 'commander'
      new Command('x').action(() => say('action')).parse(['node', 'x', '--help'])
      say('after')`),
    expected: 'silent',
    code: 0,
    stdout: ['Usage: x [options]', 'Options:', '  -h, --help  display help for command', 'hook'],
  },
  {
    name: 'yargs handler',
    source: esm(`
      import yargs from 'yargs'
      yargs([]).command('$0', 'd', () => {}, () => { ${LEAVE} }).showHelpOnFail(false).parse()
      say('after')`),
    expected: 'silent',
  },
  {
    name: 'yargs async handler: its failure handler prints it',
    source: esm(`const { default: yargs } = await import('yargs'); ${YARGS}`),
    expected: 'seen',
    stderr: ONE_LINE,
  },
  {
    // Its failure handler calls the `process.exit` of the time when yargs was loaded: Node's, which waits for nobody.
    name: 'yargs async handler, yargs loaded before the first hook',
    source: esm(`import yargs from 'yargs'; ${YARGS}`),
    expected: 'cut',
    stderr: new RegExp(ONE_LINE.source.slice(0, -1) + SUMMARY.source.slice(1)),
    caught: 1,
  },
  {
    name: "Sentry's handlers are installed",
    source: esm(`
      import * as Sentry from '@sentry/node'
      Sentry.init({ beforeSend: () => say('reported'), registerEsmLoaderHooks: false })
      setTimeout(() => { ${LEAVE} })
      setTimeout(async () => { ${LEAVE} })`),
    expected: 'silent',
  },

  // User code that catches it.
  {
    name: 'try and catch: the code goes on until the run ends',
    source: esm(`try { process.exit(42) } catch (error) { say(error.name) }; say('goes on')`),
    expected: 'seen',
    stdout: ['ExitRequest', 'goes on', 'hook'],
  },
  {
    name: 'a caught exit can not be revoked',
    source: esm(`try { process.exit(42) } catch {}; process.exitCode = 1; process.exit(0)`),
    expected: 'seen',
  },
  {
    name: 'main().then(exit).catch(console.error) prints one line',
    source: esm(`async function main() {}; main().then(() => process.exit(0)).catch((error) => console.error(error))`),
    expected: 'seen',
    code: 0,
    stderr: ONE_LINE,
  },
  {
    name: 'new Promise(() => process.exit()) is a promise that rejects',
    source: esm(`new Promise(() => { ${LEAVE} }); say('goes on')`),
    expected: 'silent',
    stdout: ['goes on', 'hook'],
  },
  {
    name: 'setUncaughtExceptionCaptureCallback catches everything',
    source: esm(`process.setUncaughtExceptionCaptureCallback((error) => say(error.name)); setTimeout(() => { ${LEAVE} })`),
    expected: 'seen',
    stdout: ['ExitRequest', 'hook'],
  },
  {
    name: 'catch and retry, with a macrotask between',
    source: esm(`for (;;) { try { process.exit(42) } catch { await new Promise(setImmediate) } }`),
    expected: 'seen',
    caught: Number.NaN,
  },
  {
    name: 'catch and retry on microtasks',
    source: esm(`for (;;) { try { process.exit(42) } catch { await null } }`),
    expected: 'cut',
    caught: 50,
  },
  {
    name: 'catch and retry, synchronously',
    source: esm(`for (;;) { try { process.exit(42) } catch {} }`),
    expected: 'cut',
    caught: 50,
  },
]

for (const { name, source, expected, code = 42, reported = code, ...place } of places) {
  const { stdout = expected === 'cut' ? [] : ['hook'], stderr = expected === 'cut' ? SUMMARY : /^$/ } = place
  const { caught = expected === 'seen' ? 1 : 0, ...options } = place
  test(`${name}: ${expected}`, async () => {
    const { report, ...ended } = await run(source, options)
    expect(ended).toMatchObject({ code, signal: null, lines: stdout, stderr: expect.stringMatching(stderr) })
    expect(report).toMatchObject({ cut: expected === 'cut', errors: [], exit: { code: reported } })
    for (const { status } of report?.hooks ?? []) expect(status).toBe(expected === 'cut' ? 'cut' : 'ok')
    if (!Number.isNaN(caught)) expect(report?.exitRequests.caught).toBe(caught)
  })
}

test('the REPL shows it like any error, and leaves with the code', async () => {
  const ended = await run(cjs(`process.exit(42)`), {
    ext: 'cjs',
    command: (file) => ['sh', '-c', `exec '${node}' ${REQUIRE_ESM} -i < '${file}'`],
  })
  expect(ended).toMatchObject({ code: 42, stderr: '' })
  expect(ended.stdout).toMatch(/ExitRequest: process\.exit\(42\) was called/)
  expect(ended.lines.filter((line) => line.endsWith('hook'))).toHaveLength(1)
})

/** What happens in a worker thread, and what the main thread, which has a hook of its own, sees of it. */
const inWorker = (source: string) => `${prelude}
  import { isMainThread, parentPort, Worker } from 'node:worker_threads'
  if (isMainThread) {
    onExit(async () => { await sleep(1); say('main hook') })
    const worker = new Worker(new URL(import.meta.url))
    worker.postMessage('go')
    worker.on('error', (error) => say('error ' + error))
    worker.on('exit', (code) => { say('worker ' + code); setTimeout(() => say('main goes on'), 20) })
  } else {
    onExit(async () => { await sleep(20); say('worker hook') })
    hold();
    ${source}
  }`

for (const [name, source] of [
  ['at top level', LEAVE],
  ['in a timer', `setTimeout(() => { ${LEAVE} })`],
  ['in an async function', `(async () => { await sleep(1); ${LEAVE} })()`],
  ['in a listener of the parent port', `parentPort.on('message', () => { ${LEAVE} })`],
] as const) {
  test(`process.exit in a worker thread, ${name}, ends the worker alone`, async () => {
    const ended = await run(inWorker(source))
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '' })
    expect(ended.lines).toEqual(['worker hook', 'worker 42', 'main goes on', 'main hook'])
    expect(ended.report).toMatchObject({ thread: 0, reasons: [{ kind: 'natural' }], exit: { code: 0 } })
  })
}

test("Sentry's handler still ends the process after a real error", async () => {
  const ended = await run(
    esm(`
      import * as Sentry from '@sentry/node'
      Sentry.init({ registerEsmLoaderHooks: false })
      setTimeout(() => { throw new Error('fatal') })`),
  )
  expect(ended).toMatchObject({ code: 1, signal: null, lines: ['hook'] })
  expect(ended.stderr.match(/Error: fatal/g)).toHaveLength(1)
})

test("an 'exit' listener may turn the code 0 of process.exit into a failure, as test runners do", async () => {
  const ended = await run(esm(`process.on('exit', () => process.exit(7)); process.exit(0)`))
  expect(ended).toMatchObject({ code: 7, signal: null, stderr: '', lines: ['hook'] })
})

test('the code of a request is what process.exit makes of its argument', async () => {
  for (const [call, code] of [
    ['process.exitCode = 3; process.exit()', 3],
    ['process.exitCode = 3; process.exit(undefined)', 0],
    [`process.exit('5')`, 5],
    ['process.exit(-1)', 255],
    ['process.exit(256)', 0],
  ] as const) {
    const ended = await run(esm(call))
    expect(ended, call).toMatchObject({ code, stderr: '', lines: ['hook'] })
  }
})
