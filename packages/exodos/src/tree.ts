/**
 * One exit for a whole tree of processes: child processes are stopped where they stand in the order of their parent, with
 * all that descends from them.
 *
 * Importing it marks the environment of each child process that is started from then on (`EXODOS_TREE`), so that what
 * descends from it is found wherever it goes. `exodos/register` has each child stopped without a change to the program.
 *
 * @packageDocumentation
 */
import { constants } from 'node:os'
import { type Duration, parseDuration } from './core/deadline.js'
import { checkOptions, invalid } from './core/errors.js'
import { coordinator } from './process/shared.js'
import { markChildren, watchOver } from './tree/adopt.js'
import type { ChildLike } from './tree/child.js'
import { lookAfterThreads } from './tree/threads.js'

export type { Duration } from './core/deadline.js'
export type { ChildLike } from './tree/child.js'

export interface StopOptions {
  /** Shown in the report. */
  name?: string
  /** What it is asked with. Default `'SIGTERM'`; a cluster's worker without exodos is let go of first. */
  killSignal?: NodeJS.Signals
  /** From being asked to SIGKILL, at most. Default: seven tenths of the grace period, or what is left of it. */
  timeout?: Duration
  /** With what descends from it, also what has a session of its own. Default true. */
  tree?: boolean
}

/** A worker of Node's cluster. */
export interface ClusterWorkerLike {
  readonly id: number
  readonly process: ChildLike
}

/** What execa 10 returns. */
export interface ExecaLike {
  readonly nodeChildProcess: ChildLike
}

markChildren()
lookAfterThreads()

/**
 * Stops a child process on the way out, where a hook that was registered now would be called, and returns it. It is asked;
 * asked once more when its time is nearly over; killed; and its death is waited for. What descends from it and has outlived
 * it is ended then. Those that were started with no hook registered in between are stopped at the same time. A child that is
 * leaving already, or that a terminal has told, isn't asked a second time.
 *
 * Makes the application the host of its exit, as `onExit` of `exodos` does: a library takes `closeOnExit` of `exodos/lib`.
 * Takes what `node:child_process`, execa and `cluster.fork()` return. A second call replaces the first.
 *
 * Works on all exit paths: where the event loop can't turn the process waits for its children, and a guardian ends them when
 * it was killed. Has no effect on a child that has ended. Throws `ERR_EXODOS_INVALID_ARG` for bad input, and
 * `ERR_EXODOS_CLOSED`, after it has asked the child to end, once the hooks have run.
 */
export function stopOnExit<T extends ChildLike | ClusterWorkerLike | ExecaLike>(child: T, options: StopOptions = {}): T {
  const call = 'stopOnExit(child, options)'
  const cluster = isClusterWorker(child) ? child : undefined
  const process = processOf(child)
  if (!isChild(process)) throw invalid(call, 'a child process, or a worker of the cluster', child)
  checkOptions(call, options, ['name', 'killSignal', 'timeout', 'tree'])
  const { name, killSignal = 'SIGTERM', timeout, tree = true } = options
  if (name !== undefined && typeof name !== 'string') throw invalid('options.name', 'a string', name)
  if (typeof killSignal !== 'string' || !Object.hasOwn(constants.signals, killSignal))
    throw invalid('options.killSignal', "a signal's name", killSignal)
  if (typeof tree !== 'boolean') throw invalid('options.tree', 'true or false', tree)
  const ms = timeout === undefined ? undefined : parseDuration(timeout, 'options.timeout')
  if (process.pid === undefined || process.exitCode !== null || process.signalCode !== null) return child
  coordinator().adopt()
  try {
    watchOver(process, { name, signal: killSignal, timeout: ms, tree, isAdopted: false }, cluster && String(cluster.id))
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_EXODOS_CLOSED') process.kill(killSignal)
    throw error
  }
  return child
}

/** What execa returns is a promise that has it. */
function processOf(child: ChildLike | ClusterWorkerLike | ExecaLike): ChildLike {
  if (isClusterWorker(child)) return child.process
  return (child as ExecaLike | undefined)?.nodeChildProcess ?? (child as ChildLike)
}

function isClusterWorker(child: unknown): child is ClusterWorkerLike {
  return typeof child === 'object' && child !== null && 'process' in child && 'id' in child
}

function isChild(child: unknown): child is ChildLike {
  const isObject = (typeof child === 'object' || typeof child === 'function') && child !== null
  return isObject && 'kill' in child && 'exitCode' in child && 'signalCode' in child && 'once' in child
}

/** @internal For `exodos/register`: stops each child process that is started from now on. */
export { adoptChildren } from './tree/adopt.js'
