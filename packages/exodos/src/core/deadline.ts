import { invalid } from './errors.js'
import { PHASES, type Phase } from './hook.js'

/** Milliseconds, or a number with its unit: `'500ms'`, `'2s'`, `'1m'`, `'1h'`. */
export type Duration = number | string

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** A duration in milliseconds. Throws `ERR_EXODOS_INVALID_ARG` for what is negative or can't be read. */
export function parseDuration(duration: Duration, argument: string): number {
  const match = typeof duration === 'string' && /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(duration.trim())
  const ms = match ? Number(match[1]) * (UNITS[match[2] as string] as number) : duration
  if (typeof ms !== 'number' || !(ms >= 0) || ms === Number.POSITIVE_INFINITY)
    throw invalid(argument, "milliseconds ≥ 0 or a string such as '500ms', '2s', '1m'", duration)
  return ms
}

/** Time, injected: tests drive it by hand, and no test framework's fake timers reach it. */
export interface Clock {
  /** A monotonic clock, in milliseconds. */
  now(): number
  /** CPU time the process has used, in milliseconds. Tells a busy process from a stopped one. */
  busy(): number
  /** Calls back once after `ms`, and holds the event loop until then. Returns how to cancel it. */
  wait(ms: number, callback: () => void): () => void
  /** Calls back after the event loop has turned once. Returns how to cancel it. */
  soon(callback: () => void): () => void
}

/** A wait is counted in beats of at most this many milliseconds. */
export const BEAT = 50

/** What a phase is sure of, in units of the reserve, however long those before it take. */
const SHARES: Record<Phase | 'leaving', number> = { announce: 0, drain: 1, save: 2, release: 2, flush: 0.5, leaving: 0.5 }

/**
 * The grace period of one run, counted in beats.
 *
 * A beat that comes late although the process was not working means that the process was stopped (SIGSTOP,
 * a suspended machine): that time is not spent. A wall clock that jumps changes nothing.
 *
 * Its unit is the reserve: a tenth, at most a second. What is kept back for later phases and for leaving itself is
 * counted in it, so that a hang in one phase never starves the next; forced, only one reserve is left for everything.
 */
export class Budget {
  total: number
  readonly reserve: number
  private used = 0
  private last: number
  private lastBusy: number

  constructor(
    private readonly clock: Clock,
    readonly grace: number,
  ) {
    this.total = grace
    this.reserve = Math.min(1000, grace / 10)
    this.last = clock.now()
    this.lastBusy = clock.busy()
  }

  /** Milliseconds used so far. */
  spent(): number {
    const now = this.clock.now()
    const delta = now - this.last
    this.last = now
    this.used += delta <= 2 * BEAT ? delta : Math.min(delta, 2 * BEAT + this.clock.busy() - this.lastBusy)
    return this.used
  }

  /** To be called at each beat: work done before it no longer explains a delay after it. */
  beat(): number {
    const used = this.spent()
    this.lastBusy = this.clock.busy()
    return used
  }

  /** When a phase must be over, in milliseconds spent, if later phases that have hooks are to have their shares. */
  end(phase: Phase, hasHooks: (later: Phase) => boolean): number {
    const later = PHASES.slice(PHASES.indexOf(phase) + 1).filter(hasHooks)
    const kept = later.reduce((sum, name) => sum + SHARES[name], SHARES.leaving)
    return this.total - kept * (this.total < this.grace ? this.reserve / 8 : this.reserve)
  }

  /** What writing out the last output may take: a reader that has stopped reading must not hold the process. */
  forOutput(): number {
    return Math.max(0, Math.min(2 * this.reserve, this.total - this.spent()))
  }

  /** From now on only the reserve is left, for everything. */
  force(): void {
    this.total = Math.min(this.total, this.spent() + this.reserve)
  }
}
