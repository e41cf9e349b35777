import { hasCookie, ourLine } from '../guardian/actions/end.js'
import { clock } from '../process/clock.js'
import { TREE } from '../process/family.js'
import { allSeen, descendantsOf, environmentOf, isAlive, type Seen, seen } from '../system/proc.js'
import type { Child } from './child.js'

/**
 * What descends from child processes: seen under them before they were asked; in the process group, or session, of one that
 * leads it; or by the mark in its environment, wherever it has gone.
 */
export class Descendants {
  private readonly children: readonly Child[]
  /** With the child that they were found under. */
  private readonly known: ReadonlyMap<Seen, Child>
  private readonly session = seen(process.pid)?.session
  private readonly marks: ReadonlySet<string>
  private readonly leaders: ReadonlySet<number>
  /** When the first of the children was started. */
  private readonly since: number

  /** `marks`: of those that are to end as well; `spared`: of those that are not. */
  constructor(
    children: readonly Child[],
    marks: readonly string[] = [],
    private readonly spared: ReadonlySet<string> = new Set(),
  ) {
    this.children = children.filter((child) => child.settings.tree && child.startTime !== undefined)
    this.known = new Map(
      this.children
        // The number of one that has ended may be somebody else's by now.
        .filter((child) => !child.hasEnded)
        .flatMap((child) => descendantsOf(child.pid).map((found) => [found, child] as const)),
    )
    this.marks = new Set([...this.children.flatMap(({ birth }) => birth.mark ?? []), ...marks])
    this.leaders = new Set(this.children.filter((child) => child.isLeader && !child.hasEnded).map(({ pid }) => pid))
    const since = marks.length > 0 ? [Number(seen(process.pid)?.startTime)] : []
    this.since = Math.min(...since, ...this.children.map(({ startTime }) => Number(startTime)))
  }

  /** Those that are to end and haven't. A look at all processes that was begun after `since`, by the clock, is new enough. */
  living(since = clock.now()): Seen[] {
    if (this.marks.size + this.leaders.size + this.known.size === 0) return []
    const spared = ourLine()
    const found = new Map<number, Seen>()
    for (const [each, child] of this.known)
      if (isAlive(each) && !isNobodys(each) && !this.isEscaped(each, child)) found.set(each.pid, each)
    for (const each of scan(since)) if (this.belongs(each) && isAlive(each)) found.set(each.pid, each)
    for (const child of this.children) found.delete(child.pid)
    return [...found.values()].filter(({ pid }) => !spared.has(pid))
  }

  /** Those that have made a session of their own, and scrubbed their environment: they want to be on their own. */
  escaped(): Seen[] {
    const found = [...this.known].filter(([each, child]) => isAlive(each) && !isNobodys(each) && this.isEscaped(each, child))
    return found.map(([each]) => each)
  }

  private isEscaped({ pid, session }: Seen, child: Child): boolean {
    return child.cookie !== undefined && session !== this.session && session !== child.pid && !hasCookie(pid, child.cookie)
  }

  private belongs({ group, session, startTime, marks }: Marked): boolean {
    if (Number(startTime) < this.since) return false
    if (this.leaders.has(group) || this.leaders.has(session)) return true
    return marks.some((mark) => this.marks.has(mark)) && !marks.some((mark) => this.spared.has(mark))
  }
}

interface Marked extends Seen {
  /** Its own, and those of whom it descends from. */
  readonly marks: readonly string[]
}

/** Somebody has said that it belongs to nobody: a daemon, or a guardian. */
const isNobodys = ({ pid }: Seen) => environmentOf(pid, TREE) === ''

let last: { readonly at: number; readonly found: readonly Marked[] } | undefined

/**
 * All processes that are younger than this one: it takes some milliseconds, most of it to read what is in an environment. So
 * what ends at the same time looks once.
 */
export function scan(since = clock.now()): readonly Marked[] {
  if (last && last.at >= since) return last.found
  const at = clock.now()
  const own = Number(seen(process.pid)?.startTime)
  const young = allSeen().filter(({ state, startTime }) => Number(startTime) >= own && !/[ZX]/.test(state))
  const found = young.map((each) => {
    const parts = environmentOf(each.pid, TREE)?.split(':') ?? []
    return { ...each, marks: parts.map((_, i) => parts.slice(0, i + 1).join(':')) }
  })
  last = { at, found }
  return found
}

/** Did the last look, begun after `since`, find nobody with the mark? Then nobody can have come since. */
export function isSurelyNobody(mark: string, since: number): boolean {
  return last !== undefined && last.at >= since && !last.found.some(({ marks }) => marks.includes(mark))
}
