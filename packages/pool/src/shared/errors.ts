/** Every error that a pool makes carries one of these. */
export type PoolErrorCode =
  | 'ERR_EXODOS_INVALID_ARG'
  | 'ERR_EXODOS_POOL_CLOSED'
  | 'ERR_EXODOS_QUEUE_FULL'
  | 'ERR_EXODOS_TASK_TIMEOUT'
  | 'ERR_EXODOS_UNCLONEABLE'
  | 'ERR_EXODOS_WORKER_DIED'
  | 'ERR_EXODOS_WORKER_INIT'

/** An error of the pool itself; `code` says which. `instanceof ExodosError` of `exodos` holds for it, too. */
export class PoolError extends Error {
  override readonly name: string = 'PoolError'
  constructor(
    readonly code: PoolErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }

  /** Of a task that a worker, or its pool, has left behind: had it been started? */
  readonly started?: boolean | 'unknown'
}

/** A worker has died, and a task was lost with it. */
export class WorkerDiedError extends PoolError {
  override readonly name: string = 'WorkerDiedError'
  constructor(
    message: string,
    /** Of what was sent to a process that was killed nobody knows. */
    override readonly started: boolean | 'unknown',
    /** How it has ended. */
    readonly exit: Exit,
    options?: { cause?: unknown },
  ) {
    super('ERR_EXODOS_WORKER_DIED', message, options)
  }
}

/** How a worker has ended; both are null for one that is no thread and no process. */
export interface Exit {
  readonly code: number | null
  readonly signal: string | null
}

/** The error for an argument that is not what was expected. */
export function invalid(argument: string, expected: string, got: unknown): TypeError & { code: PoolErrorCode } {
  const message = `${argument}: expected ${expected}, got ${show(got)}`
  return Object.assign(new TypeError(message), { code: 'ERR_EXODOS_INVALID_ARG' as const })
}

/** Options are an object, and a misspelt one would otherwise be silently without effect. */
export function checkOptions(argument: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object') throw invalid(argument, 'an object', options)
  for (const key in options) if (!known.includes(key)) throw invalid(argument, `one of ${known.join(', ')}`, key)
}

/** A value in a few words. Never throws, whatever the value's own methods do. */
export function show(value: unknown): string {
  try {
    if (typeof value === 'function') return `function ${String(value.name) || '(anonymous)'}`
    const text = typeof value === 'string' || Array.isArray(value) ? JSON.stringify(value) : String(value)
    return text.length > 80 ? `${text.slice(0, 80)}…` : text
  } catch {
    return typeof value
  }
}

/** The message of whatever was thrown. */
export const messageOf = (error: unknown): string => {
  const message = read(error, 'message')
  return typeof message === 'string' && message !== '' ? message : show(error)
}

/** A property of anything, if that can be read. */
export function read(value: unknown, key: PropertyKey): unknown {
  try {
    return (value as Record<PropertyKey, unknown> | null | undefined)?.[key]
  } catch {
    return undefined
  }
}
