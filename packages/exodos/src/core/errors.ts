/** Every error exodos throws on purpose carries one of these. The page docs/errors.md explains each. */
export type ExodosErrorCode =
  | 'ERR_EXODOS_INVALID_ARG'
  | 'ERR_EXODOS_CYCLE'
  | 'ERR_EXODOS_CLOSED'
  | 'ERR_EXODOS_CONFIGURED'
  | 'ERR_EXODOS_SELF_WAIT'
  | 'ERR_EXODOS_ABORTED'
  | 'ERR_EXODOS_DRAIN'
  | 'ERR_EXODOS_LOCK'
  | 'ERR_EXODOS_LOCKED'
  | 'ERR_EXODOS_RECORD'
  | 'ERR_EXODOS_KILLED'

/** Errors are known by their code: they may come from another copy of exodos, with classes of its own. */
const isOurs = (error: unknown, code = 'ERR_EXODOS_'): boolean =>
  error instanceof Error && String((error as { code?: unknown }).code).startsWith(code)

/** An error of exodos itself; `code` says which. `instanceof` holds for those of other copies, too. */
export class ExodosError extends Error {
  static override [Symbol.hasInstance](error: unknown): boolean {
    return isOurs(error)
  }

  override readonly name: string = 'ExodosError'
  constructor(
    readonly code: ExodosErrorCode,
    message: string,
  ) {
    super(message)
  }
}

/** Bad input, told at the call: the message names the argument, what was expected and what came. */
export class ExodosTypeError extends TypeError {
  static override [Symbol.hasInstance](error: unknown): boolean {
    return isOurs(error, 'ERR_EXODOS_INVALID_ARG')
  }

  override readonly name: string = 'ExodosTypeError'
  readonly code: ExodosErrorCode = 'ERR_EXODOS_INVALID_ARG'
}

/** The error for an argument that is not what was expected. */
export function invalid(argument: string, expected: string, got: unknown): ExodosTypeError {
  return new ExodosTypeError(`${argument}: expected ${expected}, got ${show(got)}`)
}

/** Options are an object, and a misspelt one would otherwise be silently without effect. */
export function checkOptions(argument: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object') throw invalid(argument, 'an object', options)
  for (const key in options) {
    if (!known.includes(key)) throw new ExodosTypeError(`${argument}: expected one of ${known.join(', ')}, got ${show(key)}`)
  }
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
