/**
 * Cleanups written down as data, which are done however the process ends: by a hook when it leaves; by a guardian when it
 * was killed, ran out of memory or crashed; at the next start when the guardian is gone, too.
 *
 * The promise: at least once; usually within a third of a second of the death; never while the process lives and never after
 * `cancel()` has returned. What isn't any more what was recorded is left alone. What fails is tried again, kept and
 * reported.
 *
 * @packageDocumentation
 */
import { constants } from 'node:os'
import { isAbsolute, resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { type Duration, parseDuration } from './core/deadline.js'
import { checkOptions, ExodosError, ExodosTypeError, invalid, show } from './core/errors.js'
import { hasCookie, ourLine } from './guardian/actions/end.js'
import { nodeProgram } from './guardian/actions/environment.js'
import { inUse, refusal } from './guardian/actions/refusal.js'
import { configureGuardian, Durable, type DurableRecord, stateDir, theGuardian } from './guardian/durable.js'
import type { DurableStatus } from './guardian/guardian.js'
import type { Identity, PathAction, SocketAction } from './guardian/records/action.js'
import { identityOf } from './guardian/records/identity.js'
import { findStateDir } from './guardian/records/state-dir.js'
import { recover, wouldRecover } from './guardian/recovery/claim.js'
import { nothing, type Recovered } from './guardian/recovery/settle.js'
import { seen } from './system/proc.js'

export type { Duration } from './core/deadline.js'
export type { DurableRecord } from './guardian/durable.js'
export type { DurableStatus } from './guardian/guardian.js'
export type {
  Action,
  CallAction,
  CommandAction,
  Identity,
  LockAction,
  PathAction,
  ProcessAction,
  SocketAction,
} from './guardian/records/action.js'

import { lookAfterThreads } from './tree/threads.js'

lookAfterThreads()

export type { Recovered } from './guardian/recovery/settle.js'

export interface RecordOptions {
  /** Shown in the report. Default: what is done to what. */
  name?: string
}

export interface PathOptions extends RecordOptions {
  /** A directory with all that is in it. Default false: a file, or an empty directory. */
  tree?: boolean
}

export interface ProcessOptions extends RecordOptions {
  /** All of its process group, and of its session. Default false. */
  group?: boolean
  /** `NAME=value` of the environment that it was started with: all processes that have inherited it end as well. */
  cookie?: string
  /** What it is asked with. Default `'SIGTERM'`. */
  signal?: string
  /** From there to SIGKILL. Default 5 s. */
  timeout?: Duration
}

export interface CommandOptions extends RecordOptions {
  /** Default: that of this process. */
  cwd?: string
  /** Variables beside PATH, HOME and the like: the program doesn't get the environment of this process. */
  env?: Readonly<Record<string, string>>
  /** Then it is killed, and counts as failed. Default 10 s. */
  timeout?: Duration
}

export interface CallOptions extends CommandOptions {
  /** A file's URL, or the name of a package as `cwd` sees it. */
  module: string | URL
  /** The function's name. Default `'default'`. */
  export?: string
  /** Anything that JSON can hold. */
  args?: readonly unknown[]
}

/** A path that is removed. */
export interface DurablePath extends DurableRecord {
  /**
   * To be called when it has been made: what takes its place later is somebody else's, and left alone. No effect where
   * nothing is there.
   */
  made(): void
}

export interface RecoverOptions {
  /** Does nothing: `done` is what would be tried. Default false. */
  dryRun?: boolean
}

export interface ConfigureOptions {
  /** Default: `$EXODOS_STATE_DIR`, else `exodos` in `$XDG_STATE_HOME` or `~/.local/state`, else one in the directory for temporary files. */
  stateDir?: string
  /** `'power'` has the disk written before a call returns: records survive a loss of power. Default `'process'`. */
  durability?: 'process' | 'power'
}

/**
 * Removes a path when the process ends, whichever way. To be called before the path is made: then nothing can be left. What
 * is there at the call, or at `made()`, is what is removed; something else in its place is left alone. If nothing was there
 * at either, whatever is there in the end is removed. A path that another process, which lives, has recorded as well is
 * left to that one.
 *
 * Throws `ERR_EXODOS_INVALID_ARG` for bad input and for paths that are never removed: `/`, the home and current directories
 * and what they are in, mount points, relative paths, and what is in a directory that everybody may write to without a
 * sticky bit. Throws `ERR_EXODOS_RECORD` when it can't be written down, as on a full disk.
 */
function path(target: string, options: PathOptions = {}): DurablePath {
  const call = 'durable.path(path, options)'
  checkOptions(call, options, ['name', 'tree'])
  const { tree = false, name } = options
  if (typeof tree !== 'boolean') throw invalid('options.tree', 'true or false', tree)
  return new Path(path, { kind: 'path', tree, ...checkPath(call, target) }, name)
}

/**
 * Removes the path of a Unix domain socket when the process ends, whichever way, unless somebody else listens on it then. To
 * be called before `listen`, and `made()` after it. Throws as `durable.path`.
 */
function socket(target: string, options: RecordOptions = {}): DurablePath {
  const call = 'durable.socket(path, options)'
  checkOptions(call, options, ['name'])
  return new Path(socket, { kind: 'socket', ...checkPath(call, target) }, options.name)
}

/**
 * Ends a process, or its group, when this one ends, whichever way. Never another one that has got its pid: Linux only, it is
 * known by its start time. The record of a child process is over when the child ends, unless `group` or `cookie` is given.
 * Of a group whose leader has ended all are ended that are in it then, and younger. Throws `ERR_EXODOS_INVALID_ARG` for bad input and for a process that isn't running,
 * `ERR_EXODOS_RECORD` as `durable.path`.
 */
function endProcess(target: { readonly pid?: number | undefined } | number, options: ProcessOptions = {}): DurableRecord {
  checkOptions('durable.process(process, options)', options, ['name', 'group', 'cookie', 'signal', 'timeout'])
  const pid = typeof target === 'number' ? target : target?.pid
  const there = typeof pid === 'number' && Number.isInteger(pid) && pid > 1 ? seen(pid) : undefined
  // One that could not be started, or has ended: its own events tell.
  if (isEmitter(target) && (pid === undefined || !there)) return NOTHING
  if (pid === undefined || !there)
    throw invalid('durable.process(process)', 'a child process, or the pid of one, that is running, on Linux', target)
  const start = there.startTime
  if (ourLine().has(pid)) throw invalid('durable.process(process)', 'neither this process nor one that has started it', pid)
  const { group = false, signal = 'SIGTERM', timeout = 5000, name, cookie } = options
  if (typeof group !== 'boolean') throw invalid('options.group', 'true or false', group)
  if (typeof signal !== 'string' || !Object.hasOwn(constants.signals, signal))
    throw invalid('options.signal', "a signal's name", signal)
  if (group && there.group !== pid && there.session !== pid)
    throw invalid('options.group', 'a process that leads its group, as one that is spawned with detached: true', pid)
  if (cookie !== undefined && !/^[^=]+=./.test(cookie)) throw invalid('options.cookie', "'NAME=value'", cookie)
  if (cookie !== undefined && !hasCookie(pid, cookie))
    throw invalid('options.cookie', 'what is in the environment that the process was started with', cookie)
  const ms = parseDuration(timeout, 'options.timeout')
  const action = { kind: 'process' as const, pid, start, group, signal, timeout: ms, ...(cookie && { cookie }) }
  const record = new Durable(endProcess, action, name)
  if (!group && !cookie && isEmitter(target)) target.once('exit', record.cancel)
  return record
}

/**
 * Runs a program, without a shell, when the process ends, whichever way. An exit code other than 0 counts as failed. What it
 * prints is thrown away. Throws `ERR_EXODOS_INVALID_ARG`, and `ERR_EXODOS_RECORD` as `durable.path`.
 */
function command(argv: readonly string[], options: CommandOptions = {}): DurableRecord {
  checkOptions('durable.command(argv, options)', options, COMMAND_OPTIONS)
  const isArgv = Array.isArray(argv) && argv.length > 0 && argv.every(isText) && argv[0] !== ''
  if (!isArgv) throw invalid('durable.command(argv)', 'a program and its arguments, as a list', argv)
  return new Durable(command, { kind: 'command', argv: [...argv], ...commandOptions(options) }, options.name)
}

/**
 * Calls a function that a module exports, in a process of its own, when this one ends, whichever way. A rejection counts as
 * failed. Throws `ERR_EXODOS_INVALID_ARG`, and `ERR_EXODOS_RECORD` as `durable.path`.
 */
function call(options: CallOptions): DurableRecord {
  checkOptions('durable.call(options)', options, [...COMMAND_OPTIONS, 'module', 'export', 'args'])
  const { module, export: exported = 'default', args = [] } = options
  if (!(module instanceof URL || typeof module === 'string') || !MODULE.test(String(module)))
    throw invalid('options.module', "a file's URL, as new URL('./cleanup.js', import.meta.url), or the name of a package", module)
  if (typeof exported !== 'string') throw invalid('options.export', "a function's name", exported)
  if (!Array.isArray(args)) throw invalid('options.args', 'a list', args)
  const given = { module: String(module), export: exported, args: asJson(args) }
  requireNode()
  return new Durable(call, { kind: 'call', ...given, ...commandOptions(options) }, options.name)
}

/** What survives of this process just now, and why not more. Starts the guardian. */
function status(): DurableStatus {
  return theGuardian().status()
}

/**
 * Does what dead processes have left behind, and tries once more what had failed; `left` also tells what was left alone
 * earlier. The first record of a process has the same done in the background: this is for whoever needs it done before going
 * on, as before listening on a socket.
 */
async function recoverNow(options: RecoverOptions = {}): Promise<Recovered> {
  checkOptions('durable.recover(options)', options, ['dryRun'])
  if (options.dryRun !== undefined && typeof options.dryRun !== 'boolean')
    throw invalid('options.dryRun', 'true or false', options.dryRun)
  const state = stateDir()
  if (state === undefined) return nothing()
  return options.dryRun ? wouldRecover(state) : recover(state)
}

/**
 * To be called before the first record. Throws `ERR_EXODOS_CONFIGURED` after it, `ERR_EXODOS_INVALID_ARG` for bad input, as
 * a state directory that others can write to.
 */
function configure(options: ConfigureOptions): void {
  checkOptions('durable.configure(options)', options, ['stateDir', 'durability'])
  const { durability, stateDir: dir } = options
  if (durability !== undefined && durability !== 'process' && durability !== 'power')
    throw invalid('options.durability', "'process' or 'power'", durability)
  if (dir !== undefined) {
    if (typeof dir !== 'string' || !isAbsolute(dir)) throw invalid('options.stateDir', 'an absolute path', dir)
    const found = findStateDir(dir)
    if ('reason' in found) throw new ExodosTypeError(`options.stateDir: expected a directory of our own: ${found.reason}`)
  }
  const given = { ...(durability && { durability }), ...(dir && { stateDir: dir }) }
  if (!configureGuardian(given))
    throw new ExodosError('ERR_EXODOS_CONFIGURED', 'durable.configure: there is a record, or a status, already')
}

/** Durable cleanups; each takes data, as no function survives its process. */
export const durable = { path, socket, process: endProcess, command, call, status, recover: recoverNow, configure }

/** A program that is its own executable would start itself, which would do the same. */
function requireNode(): void {
  try {
    nodeProgram()
  } catch (error) {
    throw new ExodosError('ERR_EXODOS_RECORD', `durable.call: ${(error as Error).message}`)
  }
}

/** Of a process that there is none of any more. */
const NOTHING: DurableRecord = {
  run: async () => {},
  runSync() {},
  cancel() {},
  async [Symbol.asyncDispose]() {},
  [Symbol.dispose]() {},
}

function isEmitter(target: object | number | null): target is { once(event: 'exit', listener: () => void): void } {
  return typeof target === 'object' && target !== null && 'once' in target && typeof target.once === 'function'
}

const COMMAND_OPTIONS = ['name', 'cwd', 'env', 'timeout']

const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0')

function commandOptions({ cwd = process.cwd(), env = {}, timeout = 10_000 }: CommandOptions) {
  if (!isText(cwd)) throw invalid('options.cwd', 'a path', cwd)
  const isEnv = env !== null && typeof env === 'object' && !Array.isArray(env)
  if (!isEnv || !Object.entries(env).every(([name, value]) => /^[^=\0]+$/.test(name) && isText(value)))
    throw invalid('options.env', 'an object of names and strings', env)
  return { cwd: resolve(cwd), env: { ...env }, timeout: parseDuration(timeout, 'options.timeout') }
}

/** What doesn't depend on where the program's own file is. */
const MODULE = /^(file|data|node):|^(?!\.{0,2}(\/|$))[^:]*$/

/** A program gets no more as one argument. */
const LONGEST_ARGS = 100_000

/** What JSON would leave out or turn into something else is refused: the function gets what was given here. */
function asJson(args: readonly unknown[]): unknown[] {
  for (const [i, arg] of args.entries()) {
    const same = throughJson(arg)
    if (same === undefined || !isDeepStrictEqual(same, arg))
      throw invalid(`options.args[${i}]`, 'something that JSON keeps as it is', arg)
  }
  const text = JSON.stringify(args)
  if (text.length <= LONGEST_ARGS) return JSON.parse(text) as unknown[]
  throw new ExodosTypeError(`options.args: expected at most ${LONGEST_ARGS} characters as JSON, got ${text.length}`)
}

function throughJson(arg: unknown): unknown {
  try {
    return JSON.parse(JSON.stringify(arg))
  } catch {
    // A cycle, a BigInt, or nothing at all.
    return undefined
  }
}

/** The identity of what is there, as a part of an action. */
function checkPath(call: string, target: unknown): { path: string; identity?: Identity } {
  if (typeof target !== 'string') throw invalid(call, 'an absolute path', target)
  const identity = target.includes('\0') ? undefined : identityOf(target)
  const refused = refusal(target, { identity: identity ?? null }) ?? inUse(target, stateDir())
  if (refused) throw new ExodosTypeError(`${call}: expected a path that may be removed, but ${show(target)} ${refused}`)
  return identity ? { path: target, identity } : { path: target }
}

class Path extends Durable<PathAction | SocketAction> implements DurablePath {
  made(): void {
    const identity = identityOf(this.action.path)
    if (identity) this.amend({ ...this.action, identity })
  }
}
