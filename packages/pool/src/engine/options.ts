import { availableParallelism } from 'node:os'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { ResourceLimits } from 'node:worker_threads'
import { type Duration, milliseconds } from '../shared/duration.js'
import { checkOptions, invalid, PoolError } from '../shared/errors.js'
import { uncloneable } from '../shared/pack.js'

/** Where workers live: threads of this process, child processes, or, for tests and debugging, this very thread. */
export type EngineName = 'threads' | 'processes' | 'inline'

export interface SizeOptions {
  /** Workers that are started at once and kept. Default 1. */
  min?: number
  /** The most workers at a time, those that are leaving included. Default: what `os.availableParallelism()` says. */
  max?: number
  /** A worker above `min` that has had nothing to do for so long leaves. Default `'30s'`. */
  idleTimeout?: Duration
}

export interface RecycleOptions {
  /** After so many tasks; not one more. */
  tasks?: number
  /** When so many bytes of its heap are in use; looked at between tasks, ten times a second at most. */
  heapBytes?: number
  /** When it is so old. */
  age?: Duration
}

export interface TimeoutOptions {
  /** `init` may take so long, then it counts as failed, and its worker is killed. Default: no limit. */
  init?: Duration
  /** Closing waits so long for tasks, queued ones included. Default `'10s'`. */
  drain?: Duration
  /** A worker may take so long for `dispose`, then it is killed. Default `'5s'`. */
  dispose?: Duration
  /** A task that was aborted may take so long to end, then its worker is replaced. Default `'1s'`. */
  abort?: Duration
}

/**
 * What becomes of tasks that were given to a worker that dies. `'retry-not-started'`: those that had surely not been started
 * are run by another worker; all others reject. `'reject'`: all reject. `'retry'`: those that may have been started are run
 * once more, too, once each; each is announced by a warning with the code `EXODOS_TASK_RERUN`.
 */
export type CrashPolicy = 'retry-not-started' | 'reject' | 'retry'

export interface PoolOptions {
  /** Shown in reports and messages. Default: the name of the workers' file. */
  name?: string
  /** Default `'threads'`. */
  engine?: EngineName
  /** How many workers; a number is both `min` and `max`. */
  size?: number | SizeOptions
  /** Tasks that wait for busy workers, at most: `run` rejects with `ERR_EXODOS_QUEUE_FULL` above that. Default: no limit. */
  maxQueue?: number
  /** A worker is replaced. Default: never. */
  recycle?: RecycleOptions
  timeout?: TimeoutOptions
  /** Default `'retry-not-started'`. */
  onCrash?: CrashPolicy
  /** The environment of the workers. Default: that of this process. */
  env?: NodeJS.ProcessEnv
  /** Options of Node for the workers. Default: those of this process, as far as they make sense there. */
  execArgv?: readonly string[]
  /** As of `new Worker()`; for processes they become options of Node. */
  resourceLimits?: ResourceLimits
  /** What workers print: `'inherit'` (default) goes where ours goes, `'pipe'` to `pool.stdout` and `pool.stderr`, `'ignore'` nowhere. */
  stdio?: 'inherit' | 'pipe' | 'ignore'
}

/** The same, with nothing left open. */
export interface Settings {
  readonly name: string
  readonly url: string
  readonly engine: EngineName
  readonly min: number
  readonly max: number
  readonly idleTimeout: number
  readonly maxQueue: number
  readonly recycle: { readonly tasks: number; readonly heapBytes: number; readonly age: number }
  readonly init: number
  readonly drain: number
  readonly dispose: number
  readonly abort: number
  readonly onCrash: CrashPolicy
  readonly data: unknown
  readonly env: NodeJS.ProcessEnv | undefined
  readonly execArgv: readonly string[] | undefined
  readonly resourceLimits: ResourceLimits | undefined
  readonly stdio: 'inherit' | 'pipe' | 'ignore'
}

const CALL = 'createPool(url, options)'
const KNOWN = [
  'name',
  'engine',
  'data',
  'size',
  'maxQueue',
  'recycle',
  'timeout',
  'onCrash',
  'env',
  'execArgv',
  'resourceLimits',
  'stdio',
]
/** No machine has that many. */
const MOST_WORKERS = 100_000
const NEVER = Number.POSITIVE_INFINITY

/** Throws `ERR_EXODOS_INVALID_ARG`, naming the option. */
export function settingsFor(file: URL | string, options: PoolOptions & { data?: unknown }): Settings {
  const url = urlOf(file)
  checkOptions(CALL, options, KNOWN)
  const { size = {}, recycle = {}, timeout = {}, maxQueue = NEVER, data, env, execArgv, resourceLimits } = options
  const { min, max, idleTimeout = '30s' } = sizeOf(size)
  checkOptions('options.recycle', recycle, ['tasks', 'heapBytes', 'age'])
  checkOptions('options.timeout', timeout, ['init', 'drain', 'dispose', 'abort'])
  const { name = fileURLToPath(url).split(/[\\/]/).at(-1) as string } = options
  if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
  if (env !== undefined && (typeof env !== 'object' || env === null)) throw invalid('options.env', 'an object', env)
  if (execArgv !== undefined && !(Array.isArray(execArgv) && execArgv.every((each) => typeof each === 'string')))
    throw invalid('options.execArgv', 'an array of strings', execArgv)
  if (resourceLimits !== undefined && (typeof resourceLimits !== 'object' || resourceLimits === null))
    throw invalid('options.resourceLimits', 'an object', resourceLimits)
  for (const [key, value] of Object.entries(resourceLimits ?? {}))
    if (typeof value !== 'number' || !(value > 0)) throw invalid(`options.resourceLimits.${key}`, 'a number > 0', value)
  checkData(data)
  return {
    name,
    url,
    engine: oneOf('options.engine', options.engine, ['threads', 'processes', 'inline']),
    min,
    max,
    idleTimeout: milliseconds(idleTimeout, 'options.size.idleTimeout'),
    maxQueue: whole(maxQueue, 'options.maxQueue', 0),
    recycle: {
      tasks: whole(recycle.tasks ?? NEVER, 'options.recycle.tasks', 1),
      heapBytes: whole(recycle.heapBytes ?? NEVER, 'options.recycle.heapBytes', 1),
      age: recycle.age === undefined ? NEVER : milliseconds(recycle.age, 'options.recycle.age'),
    },
    init: timeout.init === undefined ? NEVER : milliseconds(timeout.init, 'options.timeout.init'),
    drain: milliseconds(timeout.drain ?? '10s', 'options.timeout.drain'),
    dispose: milliseconds(timeout.dispose ?? '5s', 'options.timeout.dispose'),
    abort: milliseconds(timeout.abort ?? '1s', 'options.timeout.abort'),
    onCrash: oneOf('options.onCrash', options.onCrash, ['retry-not-started', 'reject', 'retry']),
    data,
    env,
    execArgv,
    resourceLimits,
    stdio: oneOf('options.stdio', options.stdio, ['inherit', 'pipe', 'ignore']),
  }
}

/** Now, not when the first worker is started. */
function checkData(data: unknown): void {
  try {
    structuredClone(data)
  } catch (cause) {
    throw new PoolError('ERR_EXODOS_UNCLONEABLE', uncloneable('options.data', cause), { cause })
  }
}

function sizeOf(size: number | SizeOptions): SizeOptions & { min: number; max: number } {
  if (typeof size === 'number') return sizeOf({ min: size, max: whole(size, 'options.size', 1) })
  checkOptions('options.size', size, ['min', 'max', 'idleTimeout'])
  const max = whole(size.max ?? Math.max(availableParallelism(), size.min ?? 1), 'options.size.max', 1)
  const min = whole(size.min ?? 1, 'options.size.min', 0)
  if (min > max) throw invalid('options.size', `min ≤ max, which is ${max}`, min)
  if (max > MOST_WORKERS) throw invalid('options.size.max', `a whole number ≤ ${MOST_WORKERS}`, max)
  return { ...size, min, max }
}

function urlOf(file: URL | string): string {
  const isPath = typeof file === 'string' && /^([/\\]|[A-Za-z]:[\\/])/.test(file)
  const text = isPath ? pathToFileURL(file).href : String(file instanceof URL || typeof file === 'string' ? file : '')
  if (!text.startsWith('file:')) throw invalid(CALL, "a file's URL, or an absolute path", file)
  return text
}

/** A whole number, or infinite. */
function whole(value: number, argument: string, least: number): number {
  if (typeof value !== 'number' || !(value >= least) || (value !== NEVER && !Number.isInteger(value)))
    throw invalid(argument, `a whole number ≥ ${least}`, value)
  return value
}

function oneOf<T extends string>(argument: string, value: T | undefined, values: readonly [T, ...T[]]): T {
  if (value === undefined) return values[0]
  if (!values.includes(value)) throw invalid(argument, `one of ${values.join(', ')}`, value)
  return value
}
