import { ExodosError } from '../core/errors.js'
import { type HookContext, type HookRecord, RECORD, type Registration } from '../core/hook.js'
import { inRootContext } from '../process/context.js'
import { register } from '../process/face.js'
import { coordinator } from '../process/shared.js'
import { type Looks, lookAgain, lookAgainSync } from '../system/looks.js'

const FORCED_SHARE = 0.75

/**
 * What stopping may take, in parts of it, counted as a run counts: a stopped process doesn't lose its time. Of what a second
 * signal leaves not all: others have to be called as well.
 */
export class Time {
  private total: number
  private before = 0
  private wasForced = false

  constructor(
    /** Milliseconds that are left. */
    private readonly remaining: () => number,
    private readonly signal?: AbortSignal,
  ) {
    this.total = remaining()
  }

  get isForced(): boolean {
    return this.signal?.aborted === true
  }

  /** Milliseconds until a part is over; less than 0 when it was. `most`: somebody has less, in milliseconds. */
  until(part: number, most = Number.POSITIVE_INFINITY): number {
    const left = this.remaining()
    if (this.isForced && !this.wasForced) {
      this.wasForced = true
      this.total = FORCED_SHARE * left
      this.before = left - this.total
    }
    return part * Math.min(most, this.total) - (this.total + this.before - left)
  }

  /** Milliseconds of it all. */
  length(most = Number.POSITIVE_INFINITY): number {
    return Math.min(most, this.total)
  }
}

/** What whoever stops something has to know of the run. */
export interface Stopping {
  readonly time: Time
  readonly reason: HookContext['reason']
  /** Does the event loop turn, so that an end is heard of? */
  readonly isTurning: boolean
  /** Puts it into the report, as it is when that is made: also when its time is up. */
  tell(result: object): void
}

/** What did not go well, in words. */
export type Problems = readonly string[]

/** Stops all members at the same time. */
type StopAll<Member> = (members: readonly Member[], stopping: Stopping) => Looks<Problems>

/** A part of the grace period: whoever comes after them must not starve when one hangs. */
const SHARE = 0.8

/**
 * Those that were started with no hook registered in between: nothing says in which order they are to be stopped, so it is
 * done at the same time. They stand in the order of the exit where the first of them was started.
 */
class Crew<Member> {
  readonly members = new Set<Member>()
  /** It is being stopped, or was. */
  isOver = false
  private readonly hook: Registration

  constructor(name: string, stopAll: StopAll<Member>) {
    this.hook = stand(name, (stopping) => {
      this.isOver = true
      return stopAll([...this.members], stopping)
    })
  }

  /** Would it be called next? What has a priority of its own stands elsewhere. */
  get isNewest(): boolean {
    const own = (this.hook as unknown as { [RECORD]: HookRecord })[RECORD]
    for (const record of coordinator().records()) if (record.priority <= 0) return record === own
    return false
  }

  /** Nobody is in it: it need not stand any longer. */
  dissolve(): void {
    if (this.members.size === 0) this.hook.cancel()
  }
}

/** Registers what is done where it stands now in the order of the exit, also where the event loop doesn't turn. */
export function stand(name: string, stop: (stopping: Stopping) => Looks<Problems>): Registration {
  const begin = (ctx: HookContext, isTurning: boolean) =>
    stop({ time: new Time(ctx.remaining, ctx.signal), reason: ctx.reason, isTurning, tell: ctx.result })
  const fn = (ctx: HookContext) => {
    const problems = lookAgain(begin(ctx, true))
    return problems instanceof Promise ? problems.then(check) : check(problems)
  }
  const sync = (ctx: HookContext) => check(lookAgainSync(begin(ctx, false)))
  // Whoever starts a child has nothing to do with how it is stopped.
  const registration = inRootContext(() => register(true, stand, fn, { name, sync }, true))
  // It was not registered by anybody's call. The application may set its grace period later.
  const record = (registration as unknown as { [RECORD]: HookRecord })[RECORD]
  Object.assign(record, { site: undefined, isOwn: true })
  Object.defineProperty(record, 'timeout', { get: () => coordinator().state.policy.grace * SHARE, enumerable: true })
  return registration
}

function check(problems: Problems): void {
  if (problems.length === 0) return
  const error = new ExodosError('ERR_EXODOS_KILLED', problems.join('; '))
  // Where it was made says nothing.
  error.stack = `${error.name}: ${error.message}`
  throw error
}

/** That somebody is in a crew. */
export interface Membership {
  /** The crew is being stopped, or was: it asks nobody any more. */
  readonly isOver: boolean
  /** It has ended. */
  leave(): void
}

/**
 * Makes the way into the crews of one kind. An empty one `stays` for the next as long as it would still be called first:
 * for those that come and go all the time.
 */
export function joinCrew<Member>(
  { name, stays }: { readonly name: string; readonly stays: boolean },
  stopAll: StopAll<Member>,
): (member: Member) => Membership {
  let newest: Crew<Member> | undefined
  return (member) => {
    if (!newest || newest.isOver || !newest.isNewest) {
      newest?.dissolve()
      newest = new Crew(name, stopAll)
    }
    const crew = newest
    crew.members.add(member)
    return {
      get isOver() {
        return crew.isOver
      },
      leave() {
        crew.members.delete(member)
        if (stays && crew === newest) return
        crew.dissolve()
        if (crew === newest && crew.members.size === 0) newest = undefined
      },
    }
  }
}
