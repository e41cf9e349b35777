/**
 * Cleanups written down as data, which are done however the process ends: by a hook when it leaves; by a guardian when it
 * was killed, ran out of memory or crashed; at the next start when the guardian is gone, too.
 *
 * To become the face `exodos/durable`.
 */
import type { ChildProcess } from 'node:child_process'
import { type Duration, parseDuration } from '../core/deadline.js'
import { checkOptions, ExodosError, ExodosTypeError, invalid } from '../core/errors.js'
import { seen } from '../system/proc.js'
import { type Recovered, recover, wouldRecover } from './claim.js'
import { configureGuardian, type DurableRecord, record, theGuardian } from './durable-record.js'
import { refusal } from './erase.js'
import type { DurableStatus } from './guardian.js'
import { identityOf } from './identity.js'
import type { Action } from './record.js'
import { findStateDir } from './state-dir.js'

export type { Duration } from '../core/deadline.js'
export type { Recovered } from './claim.js'
export type { DurableRecord } from './durable-record.js'
export type { DurableStatus } from './guardian.js'
export type { Action, Identity } from './record.js'

export interface RecordOptions {
  /** Shown in the report. Default: what is done to what. */
  name?: string
}

export interface PathOptions extends RecordOptions {
  /** A directory with all that is in it. Default: a file, or an empty directory. */
  tree?: boolean
}

export interface ProcessOptions extends RecordOptions {
  /** All of its process group. Default false. */
  group?: boolean
  /** What it is asked with. Default SIGTERM. */
  signal?: NodeJS.Signals
  /** From there to SIGKILL. Default 5 s. */
  timeout?: Duration
}

export interface CommandOptions extends RecordOptions {
  /** Default: that of the process. */
  cwd?: string
  /** Then it is killed, and counts as failed. Default 10 s. */
  timeout?: Duration
}

export interface CallOptions extends CommandOptions {
  /** A file's URL, or the name of a package as `cwd` sees it. */
  module: string | URL
  /** The function's name. Default `default`. */
  export?: string
  /** Anything that JSON can hold. */
  args?: readonly unknown[]
}

/** A path that is removed. */
export interface DurablePath extends DurableRecord {
  /** To be called when it has been made: what takes its place later is somebody else's, and left alone. */
  made(): void
}

export interface ConfigureOptions {
  /** Default: `$EXODOS_STATE_DIR`, else in `$XDG_STATE_HOME`, `~/.local/state`, or the directory for temporary files. */
  stateDir?: string
  /** `'power'` has the disk written before a call returns: records survive a loss of power. Default `'process'`. */
  durability?: 'process' | 'power'
}

/**
 * Removes a path when the process ends, whichever way. To be called before the path is made: then nothing can be left. What
 * is there at the call, or at `made()`, is what is removed; something else in its place is left alone.
 *
 * Throws `ERR_EXODOS_INVALID_ARG` for bad input and for paths that are never removed: `/`, the home and current directories
 * and what they are in, mount points, relative paths, and what others can write to.
 */
function path(target: string, options: PathOptions = {}): DurablePath {
  if (typeof target !== 'string') throw invalid('durable.path(path)', 'an absolute path', target)
  checkOptions('durable.path(path, options)', options, ['name', 'tree'])
  const refused = refusal(target)
  if (refused) throw new ExodosTypeError(`durable.path(path): expected a path that may be removed, got ${target}: ${refused}`)
  const action = { kind: 'path' as const, path: target, tree: options.tree ?? false }
  const there = identityOf(target)
  const made = record(path, there ? { ...action, identity: there } : action, options.name ?? `remove ${target}`)
  return Object.assign(made, {
    made: () => made.amend({ ...action, identity: identityOf(target) }),
  })
}

/**
 * Ends a process, or its group, when this one ends, whichever way. Never another one that has got its pid. Throws
 * `ERR_EXODOS_INVALID_ARG`.
 */
function endProcess(target: ChildProcess | number, options: ProcessOptions = {}): DurableRecord {
  checkOptions('durable.process(process, options)', options, ['name', 'group', 'signal', 'timeout'])
  const pid = typeof target === 'number' ? target : target?.pid
  const start = Number.isInteger(pid) ? seen(pid as number)?.startTime : undefined
  if (pid === undefined || start === undefined)
    throw invalid('durable.process(process)', 'a child process, or a pid, that is running', target)
  const { group = false, signal = 'SIGTERM', timeout = 5000, name = `end process ${pid}` } = options
  return record(
    endProcess,
    { kind: 'process', pid, start, group, signal, timeout: parseDuration(timeout, 'options.timeout') },
    name,
  )
}

/** Runs a program when the process ends, whichever way. Throws `ERR_EXODOS_INVALID_ARG`. */
function command(argv: readonly string[], options: CommandOptions = {}): DurableRecord {
  checkOptions('durable.command(argv, options)', options, ['name', 'cwd', 'timeout'])
  const isArgv = Array.isArray(argv) && argv.length > 0 && argv.every((word) => typeof word === 'string')
  if (!isArgv) throw invalid('durable.command(argv)', 'a program and its arguments', argv)
  const { cwd = process.cwd(), timeout = 10_000, name = argv.join(' ') } = options
  return record(command, { kind: 'command', argv, cwd, timeout: parseDuration(timeout, 'options.timeout') }, name)
}

/** Calls what a module exports, in a process of its own, when this one ends, whichever way. Throws `ERR_EXODOS_INVALID_ARG`. */
function call(options: CallOptions): DurableRecord {
  checkOptions('durable.call(options)', options, ['name', 'module', 'export', 'args', 'cwd', 'timeout'])
  const { module, export: exported = 'default', args = [], cwd = process.cwd(), timeout = 10_000 } = options
  if (typeof module !== 'string' && !(module instanceof URL))
    throw invalid('options.module', 'a URL, or the name of a package', module)
  if (!Array.isArray(args)) throw invalid('options.args', 'a list', args)
  const name = options.name ?? `${exported} of ${module}`
  const action: Action = {
    kind: 'call',
    module: String(module),
    export: exported,
    args: JSON.parse(JSON.stringify(args)) as unknown[],
    cwd,
    timeout: parseDuration(timeout, 'options.timeout'),
  }
  return record(call, action, name)
}

/** What survives of this process just now, and why not more. Starts the guardian. */
function status(): DurableStatus {
  return theGuardian().status()
}

/**
 * Does what processes that are dead have left behind; `dryRun` only tells. The first record of a process does the same in a
 * process of its own.
 */
async function recoverNow(options: { dryRun?: boolean } = {}): Promise<Recovered> {
  checkOptions('durable.recover(options)', options, ['dryRun'])
  const state = theGuardian().status().stateDir
  if (state === undefined) return { done: [], left: [], failed: [] }
  return options.dryRun ? { done: await wouldRecover(state), left: [], failed: [] } : recover(state)
}

/** To be called before the first record. Throws `ERR_EXODOS_CONFIGURED` after it, `ERR_EXODOS_INVALID_ARG` for bad input. */
function configure(options: ConfigureOptions): void {
  checkOptions('durable.configure(options)', options, ['stateDir', 'durability'])
  const { durability, stateDir } = options
  if (durability !== undefined && durability !== 'process' && durability !== 'power')
    throw invalid('options.durability', "'process' or 'power'", durability)
  if (stateDir !== undefined) {
    const found = typeof stateDir === 'string' ? findStateDir(stateDir) : { reason: 'is no string' }
    if ('reason' in found) throw invalid('options.stateDir', 'a directory of our own', found.reason)
  }
  if (!configureGuardian(options)) throw new ExodosError('ERR_EXODOS_CONFIGURED', 'durable.configure: there are records already')
}

export const durable = { path, process: endProcess, command, call, status, recover: recoverNow, configure }
