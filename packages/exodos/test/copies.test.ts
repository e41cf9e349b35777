import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Ended, node, type ProgramOptions, run, start } from './support/program.js'

/**
 * An application with libraries that each bring the copy of exodos they were published with:
 *
 *     node_modules/exodos                               0.1.0
 *     node_modules/lib-a                                uses it
 *     node_modules/lib-b/node_modules/exodos            0.0.9
 *     node_modules/lib-c/node_modules/exodos            0.0.9, a second time on disk
 *     node_modules/lib-next/node_modules/exodos         9.0.0, speaks a newer protocol
 *     node_modules/lib-later/node_modules/exodos        the same, speaks a protocol newer than that
 */
const app = mkdtempSync(join(tmpdir(), 'exodos-copies-'))
const packageDir = fileURLToPath(new URL('..', import.meta.url))
const manifest = JSON.parse(readFileSync(join(packageDir, 'package.json'), 'utf8'))

function publish(dir: string, version: string): void {
  mkdirSync(dir, { recursive: true })
  const env = { ...process.env, EXODOS_BUILD_VERSION: version }
  execFileSync(process.execPath, [join(packageDir, 'build.mjs'), '--outdir', join(dir, 'dist')], { env })
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ ...manifest, version }))
}

/** A library that registers hooks by name; each says its name when it is called. */
function addLibrary(name: string): string {
  const dir = join(app, 'node_modules', name)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name, type: 'module', exports: './index.js' }))
  writeFileSync(
    join(dir, 'index.js'),
    `import { onExit, exiting, track } from 'exodos/lib'
     import { writeSync } from 'node:fs'
     import { setTimeout as sleep } from 'node:timers/promises'
     const say = (text) => writeSync(1, text + '\\n')
     export { onExit, exiting, track }
     export const open = (name, options) => onExit(() => say(name), { name, ...options })
     export const openAsync = (name, options) => onExit(async () => { await sleep(20); say(name) }, { name, ...options })`,
  )
  return dir
}

/** Makes a built copy speak the protocol of a later version. */
function raiseProtocol(dist: string, protocol: number): void {
  const spoken = /static protocol\s*=\s*1\b/
  const files = readdirSync(dist).map((name) => join(dist, name))
  const speaking = files.filter((file) => file.endsWith('.js') && spoken.test(readFileSync(file, 'utf8')))
  if (speaking.length === 0) throw new Error('no protocol number in the built text')
  for (const file of speaking) writeFileSync(file, readFileSync(file, 'utf8').replace(spoken, `static protocol=${protocol}`))
}

beforeAll(() => {
  const places = ['lib-b', 'lib-c', 'lib-next', 'lib-later'].map((name) => join(addLibrary(name), 'node_modules/exodos'))
  const [b, c, next, later] = places as [string, string, string, string]
  addLibrary('lib-a')
  publish(join(app, 'node_modules/exodos'), '0.1.0')
  publish(b, '0.0.9')
  cpSync(b, c, { recursive: true })
  publish(next, '9.0.0')
  cpSync(next, later, { recursive: true })
  raiseProtocol(join(next, 'dist'), 2)
  raiseProtocol(join(later, 'dist'), 3)
})
afterAll(() => rmSync(app, { recursive: true, force: true }))

const prelude = `
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { EventEmitter } from 'node:events'
const say = (text) => writeSync(1, text + '\\n')
const hold = () => setTimeout(() => {}, 60_000)
const coordinator = () => EventEmitter[Symbol.for('exodos')]
const counts = () => ['SIGTERM', 'SIGINT', 'exit', 'beforeExit'].map((event) => process.listenerCount(event)).join()
`
const libraries = `
import * as a from 'lib-a'
import * as b from 'lib-b'
import * as c from 'lib-c'
`

let programs = 0

/** The program's file stands in the application's directory, so that it finds the libraries. */
const inApp = (options: ProgramOptions & { preload?: string } = {}): ProgramOptions => ({
  ...options,
  command: (file) => {
    const copy = join(app, `${++programs}-${basename(file)}`)
    cpSync(file, copy)
    const preload = join(app, `${programs}-preload.mjs`)
    writeFileSync(preload, options.preload ?? '')
    return [node, ...(options.nodeOptions ?? []), '--import', preload, copy]
  },
})

const names = (ended: Ended) => ended.report?.hooks.map((hook) => hook.name)

describe('three libraries with two versions in three copies, and an application', () => {
  const everybody = `${prelude}${libraries}
    import { onExit, exit } from 'exodos'
    a.openAsync('a1')
    b.openAsync('b1')
    onExit(async () => { await sleep(5); say('app') }, { name: 'app' })
    c.openAsync('c1')
    b.open('b2')
    a.open('a2')
  `
  const order = ['a2', 'b2', 'c1', 'app', 'b1', 'a1']

  test('are given three different copies', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       say([a.onExit === onExit, a.onExit === b.onExit, b.onExit === c.onExit].join())
       say(a.exiting === b.exiting && b.exiting === c.exiting)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['false,false,false', 'true'], stderr: '' })
  })

  test.each([
    ['natural end', '', { code: 0 }],
    ['process.exit', 'process.exit(3)', { code: 3 }],
    ['exit of exodos', 'exit(4)', { code: 4 }],
    ['an uncaught error', 'throw new Error("on purpose")', { code: 1 }],
    ['SIGTERM', 'process.kill(process.pid, "SIGTERM"); hold()', { code: null, signal: 'SIGTERM' }],
  ])('share one run, one order, one report: %s', async (_, source, expected) => {
    const ended = await run(`${everybody}${source}`, inApp())
    expect(ended).toMatchObject({ ...expected, lines: order })
    expect(names(ended)).toEqual(order)
    expect(ended.report?.hooks.every((hook) => hook.status === 'ok')).toBe(true)
    expect(ended.report?.reasons).toHaveLength(1)
  })

  test('share the sync run of process.reallyExit', async () => {
    const ended = await run(`${everybody} process.reallyExit(5)`, inApp())
    expect(ended).toMatchObject({ code: 5, lines: ['a2', 'b2'] })
    expect(names(ended)).toEqual(order)
  })

  test('an explicit run asked for in one copy runs all hooks of all copies', async () => {
    const ended = await run(
      `${everybody}
       import { runExitHooks } from 'exodos'
       const report = await runExitHooks()
       say(report.hooks.length)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: [...order, '6'], stderr: '' })
  })

  test('`after` a name holds across copies, also for names that come later', async () => {
    const ended = await run(
      `${prelude}${libraries}
       a.open('log', { after: ['db', 'cache'] })
       b.openAsync('db')
       c.open('server', { after: 'log' })
       c.openAsync('cache')`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['cache', 'db', 'log', 'server'] })
  })

  test('`after` a registration of another copy holds', async () => {
    const ended = await run(
      `${prelude}${libraries}
       const db = a.openAsync('db')
       const log = b.open('log', { after: db })
       c.open('server', { after: log })`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['db', 'log', 'server'] })
  })

  test('a cycle across copies is refused where it is closed, and named', async () => {
    const ended = await run(
      `${prelude}${libraries}
       a.open('log', { after: 'db' })
       try { b.open('db', { after: 'log' }) } catch (error) { say(error.code + ' ' + error.message) }`,
      inApp(),
    )
    expect(ended.lines[0]).toMatch(/^ERR_EXODOS_CYCLE .*db → after log → after db/)
    expect(ended).toMatchObject({ code: 0, lines: [expect.anything(), 'log'] })
  })

  test('one coordinator hangs under one key, before and after hooks are registered', async () => {
    const ended = await run(
      `${prelude}${libraries} import 'exodos'
       const first = coordinator()
       // Node has a listener of its own.
       const node = process.listenerCount('exit')
       a.open('a'); b.open('b'); c.open('c')
       say(coordinator() === first)
       const keys = [globalThis, process, EventEmitter].map((object) =>
         Object.getOwnPropertySymbols(object).filter((key) => /exodos/.test(String(key))).map(String).join())
       say(JSON.stringify(keys))
       say(['SIGTERM', 'beforeExit'].map((event) => process.listenerCount(event)).join())
       say(process.listenerCount('exit') - node)
       process.reallyExit(0)`,
      inApp(),
    )
    expect(ended.lines).toEqual(['true', '["","","Symbol(exodos.threads),Symbol(exodos)"]', '1,1', '1'])
  })

  test('`replace` and cancel reach hooks across copies', async () => {
    const ended = await run(
      `${prelude}${libraries}
       a.open('dev server')
       const off = b.open('cancelled')
       c.onExit(() => say('new dev server'), { name: 'dev server', replace: true })
       off()`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['new dev server'] })
  })

  test('a hook that waits for its own run is told so in every copy', async () => {
    const ended = await run(
      `${prelude}${libraries}
       import { onExit, runExitHooks } from 'exodos'
       b.onExit(async () => { await runExitHooks().catch((error) => say(error.code)) })
       await runExitHooks()`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['ERR_EXODOS_SELF_WAIT'] })
  })

  test('process.exit in a hook of one copy unwinds silently and raises 0', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       onExit(async () => { await sleep(5); say('app') })
       b.onExit(async () => { await sleep(5); process.exit(9) })
       process.exit(0)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 9, lines: ['app'], stderr: '' })
  })

  test('all faces of a copy share its registry', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       import { clear, ncallbacks, register } from 'exodos/atexit'
       import * as lib from 'exodos/lib'
       onExit(() => say('application'), { after: 'greet' })
       lib.onExit(() => say('library'))
       register(function greet(name) { say('hello ' + name) }, 'you')
       b.open('b')
       say(ncallbacks())
       process.exit(3)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 3, lines: ['1', 'b', 'hello you', 'library', 'application'], stderr: '' })
  })

  test('the same file loaded twice by a query is one more copy of the same process', async () => {
    const ended = await run(
      `${prelude}${libraries}
       const url = import.meta.resolve('exodos')
       const { onExit } = await import(url + '?again')
       a.open('a')
       onExit(() => say('app'))
       b.open('b')`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['b', 'app', 'a'] })
  })
})

describe('a copy with a newer protocol', () => {
  const takeOver = `
    const before = coordinator()
    const next = await import('lib-next')
    say('protocols ' + before.protocol + ',' + coordinator().protocol)
  `

  test('takes over while idle, with all hooks in their order', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       a.openAsync('a1')
       b.open('b1', { priority: -1 })
       onExit(async () => { await sleep(5); say('app') }, { name: 'app' })
       c.open('c1', { phase: 'flush' })
       c.open('log', { after: 'late' })
       ${takeOver}
       next.open('next')
       a.openAsync('late')
       process.exit(3)`,
      inApp(),
    )
    const order = ['late', 'next', 'log', 'app', 'a1', 'b1', 'c1']
    expect(ended).toMatchObject({ code: 3, lines: ['protocols 1,2', ...order], stderr: '' })
    expect(names(ended)).toEqual(order)
  })

  test('leaves one set of listeners, and none when the last hook is gone', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       const idle = counts()
       const { exit, reallyExit, emit } = process
       const offA = a.open('a')
       const offApp = onExit(() => say('app'))
       const busy = counts()
       ${takeOver}
       say(counts() === busy)
       const off = next.open('next')
       say(counts() === busy)
       off(); offA(); offApp()
       say(counts() === idle)
       say([process.exit === exit, process.reallyExit === reallyExit, process.emit === emit].join())`,
      inApp(),
    )
    const lines = ['protocols 1,2', 'true', 'true', 'true', 'true,true,true']
    expect(ended).toMatchObject({ code: 0, lines, stderr: '' })
  })

  test('hooks registered before the take-over can still be cancelled, disposed and run by hand', async () => {
    const ended = await run(
      `${prelude}${libraries}
       const cancelled = a.open('cancelled')
       const disposed = b.open('disposed')
       const byHand = c.open('by hand')
       ${takeOver}
       cancelled.cancel()
       disposed[Symbol.dispose]()
       byHand.run()
       byHand.run()
       say('end')`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['protocols 1,2', 'by hand', 'end'], stderr: '' })
  })

  test('two take-overs, one after the other', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       const db = a.openAsync('db')
       const cancelled = b.open('cancelled')
       ${takeOver}
       const cancelledToo = next.open('cancelled, too')
       next.open('log', { after: db })
       const later = await import('lib-later')
       say('protocol ' + coordinator().protocol)
       later.open('server', { after: ['log', db] })
       cancelled()
       cancelledToo()
       onExit(() => say('app'))
       const idle = counts()
       later.open('one more')()
       say(counts() === idle)
       process.exit(3)`,
      inApp(),
    )
    const lines = ['protocols 1,2', 'protocol 3', 'true', 'app', 'db', 'log', 'server']
    expect(ended).toMatchObject({ code: 3, lines, stderr: '' })
  })

  test('work tracked before the take-over is not waited for once it is done', async () => {
    const ended = await run(
      `${prelude}${libraries} import { runExitHooks } from 'exodos'
       let finish
       const work = a.track(new Promise((resolve) => { finish = resolve }), { name: 'work' })
       ${takeOver}
       finish()
       await work
       say((await runExitHooks()).hooks.length)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['protocols 1,2', '0'] })
  })

  test('keeps the policy, the host and the signal `exiting`', async () => {
    const ended = await run(
      `${prelude}${libraries} import { configure, exiting, onExit } from 'exodos'
       configure({ failureCode: 42 })
       a.openAsync('a')
       exiting.addEventListener('abort', () => say('exiting'))
       ${takeOver}
       say(next.exiting === exiting)
       next.onExit(async () => { throw new Error('on purpose') }, { name: 'failing' })
       process.exit(0)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 42, lines: ['protocols 1,2', 'true', 'exiting', 'a'] })
  })

  test('a second `configure` is refused with the place of the first', async () => {
    const ended = await run(
      `${prelude} import { configure } from 'exodos'
       configure({ grace: '7s' })
       ${takeOver}
       const other = await import(new URL('./node_modules/lib-next/node_modules/exodos/dist/index.js', import.meta.url))
       try { other.configure({ grace: '8s' }) } catch (error) { say(error.code + ' ' + error.message) }`,
      inApp(),
    )
    expect(ended.lines[1]).toMatch(/^ERR_EXODOS_CONFIGURED .*program\.mjs:\d+/)
  })

  test('takes over while the functions of process are wrapped by somebody else', async () => {
    const ended = await run(
      `${prelude}${libraries} import { onExit } from 'exodos'
       onExit(async () => { await sleep(5); say('app') })
       for (const name of ['exit', 'reallyExit', 'emit']) {
         const inner = process[name]
         process[name] = function wrapper(...args) { return Reflect.apply(inner, process, args) }
       }
       ${takeOver}
       next.openAsync('next')
       process.exit(3)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 3, lines: ['protocols 1,2', 'next', 'app'], stderr: '' })
  })

  test('attaches with the older protocol while a run is under way', async () => {
    const ended = await run(
      `${prelude}${libraries}
       a.open('a')
       b.onExit(async () => {
         ${takeOver}
         next.openAsync('next')
       }, { name: 'loads next' })
       c.open('c')`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['c', 'protocols 1,1', 'next', 'a'], stderr: '' })
    expect(names(ended)).toEqual(['c', 'loads next', 'next', 'a'])
  })

  test('is joined by older copies that come after it', async () => {
    const ended = await run(
      `${prelude}
       const next = await import('lib-next')
       next.open('next')
       const first = coordinator()
       const a = await import('lib-a')
       const { exit } = await import('exodos')
       a.openAsync('a')
       say(coordinator() === first && first.protocol === 2)
       exit(6)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 6, lines: ['true', 'a', 'next'], stderr: '' })
  })
})

describe('libraries alone', () => {
  /** The same program with and without a library's hooks: whatever it does, the process must end the same. */
  const guests = `
    import * as a from 'lib-a'
    import * as b from 'lib-b'
    a.open('sync', { sync: true })
    b.onExit(() => { throw new Error('from a hook') }, { name: 'failing' })
  `
  async function sameEnd(source: string, ext: 'mjs' | 'cjs' = 'mjs') {
    const [plain, withGuests] = await Promise.all([run(source, inApp({ ext })), run(source, inApp({ ext, preload: guests }))])
    // The summary of exodos about the failing hook, file names, ids, addresses and Node's own stack frames differ.
    const different = /^exodos: .*\n( {2}.*\n)*|^ {4}at .*\(node:.*\n|\d+-program|\(node:\d+\)|0x\w+/gm
    const clean = (stderr: string) => stderr.replaceAll(different, '')
    expect({ code: withGuests.code, signal: withGuests.signal }).toEqual({ code: plain.code, signal: plain.signal })
    expect(clean(withGuests.stderr)).toBe(clean(plain.stderr))
    return withGuests
  }

  test.each([0, 1, 2, 3, 4, 5])("process.exit(%d) is Node's, and synchronous hooks run", async (code) => {
    const withGuests = await sameEnd(`process.exit(${code})`)
    expect(withGuests).toMatchObject({ code, lines: ['sync'] })
  })

  test.each([
    ['natural end', ''],
    ['process.exitCode', 'process.exitCode = 3'],
    ['process.exit() with an exit code set', 'process.exitCode = 3; process.exit()'],
    ['process.exit(undefined) with an exit code set', 'process.exitCode = 3; process.exit(undefined)'],
    ['process.exit("4")', 'process.exit("4")'],
    ['process.exit(256)', 'process.exit(256)'],
    ['process.exit(-1)', 'process.exit(-1)'],
    ['process.exit of what is no code', 'process.exit(1.5)'],
    ['process.exit in an exit listener', 'process.on("exit", () => process.exit(6))'],
    ['an exit code set in an exit listener', 'process.on("exit", () => { process.exitCode = 6 })'],
    ['a throw in an exit listener', 'process.on("exit", () => { throw new Error("in exit") })'],
    ['an uncaught error', 'const place = 1; throw new Error("on purpose")'],
    ['an uncaught error later', 'setImmediate(() => { throw new TypeError("on purpose", { cause: new Error("why") }) })'],
    ['an uncaught error in CommonJS', 'function f() {\n  throw new Error("on purpose")\n}\nf()', 'cjs'],
    ['a thrown string', 'throw "text"'],
    ['an unhandled rejection', 'Promise.reject(new Error("on purpose"))'],
    ['an unhandled rejection of no error', 'Promise.reject(undefined)'],
    ['a syntax error', 'new Function("a b")'],
    ['an unsettled top-level await', 'await new Promise(() => {})'],
    ['a throw in an uncaughtException listener', 'process.on("uncaughtException", () => { throw 1 }); throw 2'],
    ['an error that the app handles', 'process.on("uncaughtException", () => {}); setImmediate(() => { throw 1 })'],
    ['an error that the app handles with a code', 'process.on("uncaughtException", () => process.exit(8)); throw 1'],
    ['a rejection that the app handles', 'process.on("unhandledRejection", () => {}); Promise.reject(1)'],
    ['process.reallyExit', 'process.reallyExit(7)'],
    ['process.abort', 'process.abort()'],
    ['SIGTERM', 'process.kill(process.pid, "SIGTERM"); setTimeout(() => {}, 60_000)'],
    ['SIGINT', 'process.kill(process.pid, "SIGINT"); setTimeout(() => {}, 60_000)'],
    ['SIGHUP', 'process.kill(process.pid, "SIGHUP"); setTimeout(() => {}, 60_000)'],
    ['SIGUSR2', 'process.kill(process.pid, "SIGUSR2"); setTimeout(() => {}, 60_000)'],
    ['SIGPIPE', 'process.kill(process.pid, "SIGPIPE"); setTimeout(() => {}, 50)'],
    ['SIGKILL', 'process.kill(process.pid, "SIGKILL"); setTimeout(() => {}, 60_000)'],
  ] as [string, string, 'cjs'?][])("exit code, signal and error text are exactly Node's: %s", async (_, source, ext) => {
    await sameEnd(source, ext)
  })

  test('an uncaught error is printed by Node, with the line of the source, and synchronous hooks run', async () => {
    const withGuests = await sameEnd('const value = 1\nthrow new Error("on purpose")')
    expect(withGuests).toMatchObject({ code: 1, lines: ['sync'] })
    expect(withGuests.stderr).toMatch(/program\.mjs:2\nthrow new Error\("on purpose"\)\n {6}\^/)
  })

  test("process.exit, emit and reallyExit stay Node's", async () => {
    const ended = await run(
      `${prelude}
       import * as before from 'node:process'
       const { exit, emit, reallyExit } = process
       const own = Object.hasOwn(process, 'emit')
       const { open } = await import('lib-a')
       const b = await import('lib-b')
       open('a'); b.openAsync('b')
       say([process.exit === exit, process.emit === emit, process.reallyExit === reallyExit, before.exit === exit].join())
       say(Object.hasOwn(process, 'emit') === own)
       const errors = ['uncaughtException', 'unhandledRejection', 'uncaughtExceptionMonitor', 'disconnect', 'message']
       say(errors.map((event) => process.listenerCount(event)).join())`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['true,true,true,true', 'true', '0,0,0,0,0', 'b', 'a'] })
  })

  test('asynchronous hooks run at a natural end', async () => {
    const ended = await run(
      `${prelude}${libraries} a.openAsync('a'); b.openAsync('b'); c.open('c'); process.exitCode = 3`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 3, lines: ['c', 'b', 'a'], stderr: '' })
  })

  test('a failing asynchronous hook never changes the exit code', async () => {
    const ended = await run(
      `${prelude}${libraries}
       a.openAsync('a')
       b.onExit(async () => { await sleep(5); throw new Error('on purpose') }, { name: 'failing' })`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['a'], report: { exit: { code: 0 } } })
  })

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('%s that nobody handles: hooks run, then death by it', async (signal) => {
    const program = start(`${prelude}${libraries} a.open('a'); b.openAsync('b'); c.open('c'); hold(); say('ready')`, inApp())
    await program.until('ready')
    program.kill(signal)
    expect(await program.ended).toMatchObject({ code: null, signal, lines: ['ready', 'c', 'b', 'a'], stderr: '' })
  })

  test('SIGTERM that the app handles with process.exit: only its exit runs the synchronous hooks', async () => {
    const program = start(
      `${prelude}${libraries}
       a.open('a')
       b.openAsync('b')
       process.on('SIGTERM', () => {
         say('app')
         setTimeout(() => { say('app is done'); process.exit(0) }, 50)
       })
       hold(); say('ready')`,
      inApp(),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, signal: null, lines: ['ready', 'app', 'app is done', 'a'] })
  })

  test('SIGTERM that the app handles by closing what it has open: all hooks run at the natural end', async () => {
    const program = start(
      `${prelude}${libraries}
       a.open('a')
       const held = hold()
       process.once('SIGTERM', () => { say('app'); clearTimeout(held) })
       b.openAsync('b')
       say('ready')`,
      inApp(),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 0, signal: null, lines: ['ready', 'app', 'b', 'a'], stderr: '' })
  })

  test('SIGTERM that the app ignores: the process lives on, and SIGINT still ends it', async () => {
    const program = start(
      `${prelude}${libraries} a.openAsync('a'); process.on('SIGTERM', () => say('ignored')); hold(); say('ready')`,
      inApp(),
    )
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('ignored')
    program.kill('SIGINT')
    expect(await program.ended).toMatchObject({ signal: 'SIGINT', lines: ['ready', 'ignored', 'a'], stderr: '' })
  })

  test('the IPC channel of a forked child is left alone', async () => {
    const ended = await run(
      `${prelude}
       import { fork } from 'node:child_process'
       if (!process.send) {
         const child = fork(process.argv[1])
         child.on('message', () => child.disconnect())
         child.on('exit', (code, signal) => say('child ' + code + ' ' + signal))
       } else {
         const { open } = await import('lib-a')
         open('hook of the child')
         process.on('disconnect', () => setTimeout(() => say('still at work'), 50))
         process.send('ready')
       }`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['still at work', 'hook of the child', 'child 0 null'] })
  })

  test('hooks of libraries run in a worker thread, too', async () => {
    const ended = await run(
      `${prelude}
       import { isMainThread, Worker } from 'node:worker_threads'
       const { open, openAsync } = await import('lib-b')
       open(isMainThread ? 'main' : 'worker')
       openAsync(isMainThread ? 'main async' : 'worker async')
       if (isMainThread) new Worker(process.argv[1]).on('exit', (code) => say('worker ' + code))`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 0, lines: ['worker async', 'worker', 'worker 0', 'main async', 'main'], stderr: '' })
  })
})

describe('the first use of exodos by the application', () => {
  test.each([
    ['onExit', "onExit(() => say('app'), { name: 'app' })", ['app']],
    ['a hook that is cancelled again', 'onExit(() => {}).cancel()', []],
    ['configure', "configure({ grace: '5s' })", []],
    ['track', "track(sleep(40).then(() => say('work')))", ['work']],
  ])("gives libraries' hooks the full run: %s", async (_, use, lines) => {
    const ended = await run(
      `${prelude}${libraries}
       import { configure, onExit, track } from 'exodos'
       b.openAsync('b')
       ${use}
       process.exit(3)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 3, lines: [...lines, 'b'], stderr: '' })
  })

  test('exit() with hooks of libraries alone is a full run that a later process.exit does not cut', async () => {
    const ended = await run(
      `${prelude}${libraries} import { exit } from 'exodos'
       b.openAsync('b')
       exit(2)
       setTimeout(() => process.exit(9), 1)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 2, lines: ['b'], stderr: '' })
  })

  test('exit(0) with a failing hook of a library fails', async () => {
    const ended = await run(
      `${prelude}${libraries} import { exit } from 'exodos'
       b.onExit(() => { throw new Error('on purpose') }, { name: 'failing' })
       exit(0)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 1, report: { exit: { code: 1 } } })
  })

  test('before any hook, still holds when libraries register later', async () => {
    const ended = await run(
      `${prelude}${libraries} import { configure } from 'exodos'
       configure({ failureCode: 5 })
       b.openAsync('b')
       process.exit(4)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 4, lines: ['b'], stderr: '' })
  })

  test('an import alone is no use', async () => {
    const ended = await run(
      `${prelude}${libraries} import * as exodos from 'exodos'
       a.open('a')
       b.openAsync('b')
       say(typeof exodos.exit)
       process.exit(3)`,
      inApp(),
    )
    expect(ended).toMatchObject({ code: 3, lines: ['function', 'a'] })
  })

  test('an application in CommonJS requires it', async () => {
    const ended = await run(
      `const { onExit } = require('exodos')
       const { openAsync } = require('lib-b')
       openAsync('b')
       onExit(async () => console.log('app'))
       process.exit(3)`,
      inApp({ ext: 'cjs' }),
    )
    expect(ended).toMatchObject({ code: 3, lines: ['app', 'b'] })
  })
})
