import { type Duration, ExodosTypeError } from 'exodos'

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A duration in milliseconds. Throws `ERR_EXODOS_INVALID_ARG` for what is negative or can't be read. */
export function milliseconds(duration: Duration, argument: string): number {
  const match = typeof duration === 'string' && /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration.trim())
  const ms = match ? Number(match[1]) * (UNITS[match[2] as string] as number) : duration
  if (typeof ms !== 'number' || !(ms >= 0) || ms === Number.POSITIVE_INFINITY) {
    throw invalid(argument, "milliseconds ≥ 0 or a string such as '500ms', '2s', '1m'", duration)
  }
  // Above that Node's timers fire at once.
  return Math.min(ms, 2 ** 31 - 1)
}

/** The error for an argument that is not what was expected. */
export function invalid(argument: string, expected: string, got: unknown): ExodosTypeError {
  return new ExodosTypeError(`${argument}: expected ${expected}, got ${show(got)}`)
}

/** Options are an object, and a misspelt one would otherwise be silently without effect. */
export function checkOptions(argument: string, options: object, known: readonly string[]): void {
  if (options === null || typeof options !== 'object') throw invalid(argument, 'an object', options)
  for (const key in options) {
    if (!known.includes(key)) throw invalid(argument, `one of ${known.join(', ')}`, key)
  }
}

function show(value: unknown): string {
  try {
    if (typeof value === 'function') return `function ${String(value.name) || '(anonymous)'}`
    const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
    return text.length > 80 ? `${text.slice(0, 80)}…` : text
  } catch {
    return typeof value
  }
}
