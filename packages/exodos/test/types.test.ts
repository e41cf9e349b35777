import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeProject } from './support/suites.js'

const require = createRequire(import.meta.url)
const newest = dirname(require.resolve('typescript/package.json'))
/** An older compiler, brought along by one of our tools. */
const older = join(dirname(newest), '@arethetypeswrong/core/node_modules/typescript')
const compilers = [newest, ...(existsSync(older) ? [older] : [])].map((dir): [string, string] => [
  `TypeScript ${(require(join(dir, 'package.json')) as { version: string }).version}`,
  join(dir, 'bin/tsc'),
])

/** Uses every export of every face, with the types a reader of the documentation expects. */
const consumer = `
import {
  configure, exit, exiting, ExodosError, ExodosTypeError, onExit, runExitHooks, track,
  type Duration, type ExodosErrorCode, type HookContext, type HookFunction, type HookOptions, type Options, type Phase,
  type Reason, type ReasonKind, type Registration, type Report, type ReportedError, type ReportedHook, type ReportedReason,
  type TrackOptions,
} from 'exodos'
import * as lib from 'exodos/lib'
import * as atexit from 'exodos/atexit'
import * as testing from 'exodos/testing'
import { scope } from 'exodos'
import {
  durable, type Action, type CallOptions, type CommandOptions, type ConfigureOptions, type DurablePath, type DurableRecord,
  type DurableStatus, type Identity, type PathOptions, type ProcessOptions, type RecordOptions, type Recovered,
  type RecoverOptions,
} from 'exodos/durable'
import { lockFile, type Lock, type LockOptions } from 'exodos/lock'
import { tempDir, tempFile, type Temp, type TempDirOptions, type TempFileOptions } from 'exodos/temp'

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const sure = <T extends true>(): T | undefined => undefined

const duration: Duration = '500ms'
const phase: Phase = 'save'
const kind: ReasonKind = 'signal'
const hook: HookFunction = async (ctx: HookContext) => {
  const reason: Reason = ctx.reason.first
  const left: number = ctx.remaining() + ctx.extend(duration) + ctx.extend(100)
  ctx.status(\`\${reason.kind} \${left} \${ctx.reason.code ?? 0} \${ctx.reason.signal ?? ''}\`)
  ctx.signal.addEventListener('abort', () => {})
  if (reason.kind === kind) ctx.signal.throwIfAborted()
}
const options: HookOptions = {
  name: 'db', phase, timeout: '3s', priority: 1, sync: () => {}, state: () => ({ open: 1 }), replace: true,
}
const registration: Registration = onExit(hook, options)
onExit(() => {}, { after: registration, sync: true })
onExit(() => 'whatever', { after: ['db', registration], sync: false, timeout: 100 })
registration()
registration.cancel()
const returned: unknown = registration.run()

const trackOptions: TrackOptions = { name: 'mail', onExit: 'abandon' }
const tracked = track(Promise.resolve(1), trackOptions)
sure<Same<typeof tracked, Promise<number>>>()
sure<Same<typeof exiting, AbortSignal>>()

async function main(): Promise<string> {
  const report: Report = await runExitHooks()
  const hooks: ReportedHook[] = report.hooks
  const reasons: ReportedReason[] = report.reasons
  const error: ReportedError | undefined = hooks[0]?.error
  return exit(reasons.length + (error?.message.length ?? 0))
}
sure<Same<ReturnType<typeof exit>, Promise<never>>>()

const policy: Options = {
  grace: '10s', processExit: 'finish', failureCode: 1, signals: { SIGHUP: 'app' }, onParentLost: 'stay',
  printError: (error: unknown) => void error, report: (report: Report) => void report.exit?.code,
}
configure(policy)
configure({ report: 'report.json', printError: false, grace: 100 })
const code: ExodosErrorCode = 'ERR_EXODOS_CYCLE'
const failure: Error = new ExodosError(code, 'message')
const invalid: TypeError = new ExodosTypeError('message')
if (failure instanceof ExodosError) sure<Same<typeof failure.code, ExodosErrorCode>>()

const libOptions: lib.HookOptions = { phase: 'drain' satisfies lib.Phase }
const libHook: lib.HookFunction = (ctx: lib.HookContext) => ctx.remaining()
const libRegistration: lib.Registration = lib.onExit(libHook, libOptions)
const libTracked: Promise<string> = lib.track(Promise.resolve('a'), { onExit: 'finish' } satisfies lib.TrackOptions)
const libExiting: AbortSignal = lib.exiting
onExit(() => {}, { after: libRegistration })

const named = (path: string, force: boolean): void => void [path, force]
const same = atexit.register(named, 'a', true)
sure<Same<typeof same, typeof named>>()
atexit.unregister(named)
const count: number = atexit.ncallbacks()
atexit.clear()
const ran: Promise<Report> = atexit.runExitFuncs()

async function tests(): Promise<void> {
  const clock: testing.FakeClock = testing.fakeClock()
  const exits: testing.IsolatedExits = testing.isolateExits({ clock })
  const by: testing.ExitBy = { signal: 'SIGTERM' }
  const report: testing.Report = await exits.run(by)
  await exits.run({ code: 3 })
  exits.force()
  exits.restore()
  const expected: testing.ExpectExitOptions = { killSignal: 'SIGTERM', timeout: '5s' }
  const left: testing.Exit = await testing.expectExit(new URL('file:///program.mjs'), expected)
  void [report.hooks, exits.exiting, left.code]
}

async function surviving(): Promise<void> {
  const dirOptions: TempDirOptions = { prefix: 'a', parent: '/tmp', mode: 0o700, keep: false }
  const fileOptions: TempFileOptions = { ...dirOptions, postfix: '.json' }
  const dir: Temp = tempDir(dirOptions)
  const path: string = tempFile(fileOptions).path
  dir.removeSync()
  dir.keep()
  await dir.remove()
  const lockOptions: LockOptions = { wait: '1s', signal: exiting, onCompromised: (error) => void error.code }
  const lock: Lock = await lockFile(path, lockOptions)
  if (lock.isHeld()) await lock.release()
  const job = scope()
  sure<Same<ReturnType<typeof job.use<Temp>>, Temp>>()
  job.use(lock)
  const pathOptions: PathOptions = { name: 'a', tree: true }
  const made: DurablePath = durable.path(path, pathOptions)
  made.made()
  const commandOptions: CommandOptions = { cwd: '/', env: { A: '1' }, timeout: 100 }
  const callOptions: CallOptions = { module: new URL('file:///a.js'), export: 'a', args: [1] }
  const processOptions: ProcessOptions = { group: true, signal: 'SIGINT', timeout: '1s', cookie: 'A=1' }
  const recordOptions: RecordOptions = { name: 'a' }
  const records: DurableRecord[] = [
    job.use(durable.socket(path, recordOptions)), durable.process(2, processOptions), durable.process({ pid: 2 }),
    durable.command(['rm', path], commandOptions), durable.call(callOptions),
  ]
  for (const record of records) record.cancel()
  const status: DurableStatus = durable.status()
  const recovery: RecoverOptions = { dryRun: status.guarded }
  const recovered: Recovered = await durable.recover(recovery)
  const actions: Action[] = [...recovered.done, ...recovered.left.map(({ action }) => action)]
  const identity: Identity | undefined = actions[0]?.kind === 'path' ? actions[0].identity : undefined
  const configuration: ConfigureOptions = { stateDir: identity?.ino ?? '/', durability: 'power' }
  durable.configure(configuration)
}

// What is wrong must not compile.
// @ts-expect-error
tempDir('x')
// @ts-expect-error
tempDir({ postfix: '.json' })
// @ts-expect-error
lockFile('a', { retries: 1 })
// @ts-expect-error
durable.command('rm x')
// @ts-expect-error
durable.call({ export: 'a' })
// @ts-expect-error
durable.process('1')
// @ts-expect-error
durable.configure({ durability: 'disk' })
// @ts-expect-error
onExit()
// @ts-expect-error
onExit('text')
// @ts-expect-error
onExit(() => {}, { phase: 'later' })
// @ts-expect-error
configure({ grace: true })
// @ts-expect-error
configure({ unknown: 1 })
// @ts-expect-error
atexit.register(named, 1)
// @ts-expect-error
exit('0')

export { code, count, invalid, libExiting, libTracked, main, ran, returned, surviving, tests }
`

const using = `
import { onExit } from 'exodos'
import { durable } from 'exodos/durable'
import { lockFile } from 'exodos/lock'
import { tempDir } from 'exodos/temp'
import { isolateExits } from 'exodos/testing'
export async function g(): Promise<string> {
  await using lock = await lockFile('a')
  await using record = durable.path('/tmp/a')
  await using dir = tempDir()
  using other = tempDir()
  return [lock.path, record, dir.path, other.path].join()
}
export function f(): void {
  using off = onExit(() => {})
  using exits = isolateExits()
  off.cancel()
  exits.force()
}
`

const resolutions: Record<string, object> = {
  node16: { module: 'node16', moduleResolution: 'node16' },
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
}
const strict = {
  strict: true,
  noEmit: true,
  skipLibCheck: false,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
}

let project: ReturnType<typeof makeProject>
beforeAll(() => {
  project = makeProject({ 'consumer.ts': consumer, 'using.ts': using })
  mkdirSync(join(project.dir, 'node_modules/@types'))
  symlinkSync(realpathSync(join(dirname(newest), '@types/node')), join(project.dir, 'node_modules/@types/node'))
})
afterAll(() => project.remove())

/** What the compiler has to say. */
function check(tsc: string, file: string, options: object): Promise<string> {
  const config = join(project.dir, 'tsconfig.json')
  writeFileSync(config, JSON.stringify({ compilerOptions: { ...strict, ...options }, files: [file] }))
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [tsc, '-p', config], { cwd: project.dir }, (error, stdout, stderr) => {
      if (stderr) reject(new Error(stderr))
      else resolve(stdout || (error?.message ?? ''))
    })
  })
}

describe.each(compilers)('%s', (_, tsc) => {
  test.each(Object.entries(resolutions))('a consumer without `lib` and without @types/node: %s', async (_, resolution) => {
    expect(await check(tsc, 'consumer.ts', { target: 'es2022', types: [], ...resolution })).toBe('')
  })

  test.each(Object.entries(resolutions))('a consumer with lib ES2022 and @types/node, no DOM: %s', async (_, resolution) => {
    const options = { target: 'es2022', lib: ['es2022'], types: ['node'], ...resolution }
    expect(await check(tsc, 'consumer.ts', options)).toBe('')
  })

  test('`using` compiles with lib ESNext', async () => {
    const options = { target: 'es2022', lib: ['esnext'], types: ['node'], ...resolutions['nodenext'] }
    expect(await check(tsc, 'using.ts', options)).toBe('')
  })
})
