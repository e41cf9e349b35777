import { invalid } from './errors.js'

/** Milliseconds, or a number with its unit: `'500ms'`, `'2s'`, `'1m'`, `'1h'`. */
export type Duration = number | string

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** Throws `ERR_EXODOS_INVALID_ARG` for what is negative or can't be read. */
export function milliseconds(duration: Duration, argument: string): number {
  const match = typeof duration === 'string' && /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration.trim())
  const ms = match ? Number(match[1]) * (UNITS[match[2] as string] as number) : duration
  if (typeof ms !== 'number' || !(ms >= 0) || ms === Number.POSITIVE_INFINITY)
    throw invalid(argument, "milliseconds ≥ 0 or a string such as '500ms', '2s', '1m'", duration)
  // Above that Node's timers fire at once.
  return Math.min(ms, 2 ** 31 - 1)
}
