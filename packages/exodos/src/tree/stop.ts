import { kill, tell } from '../guardian/actions/end.js'
import { clock } from '../process/clock.js'
import { writeError } from '../process/output.js'
import { type Looks, together } from '../system/looks.js'
import { commandOf, hasExodos, isLeaving, orElse } from '../system/proc.js'
import type { Child } from './child.js'
import type { Problems, Stopping, Time } from './crew.js'
import { Descendants } from './descendants.js'
import { toldByTerminalAt } from './terminal.js'

/** A process as a report shows it. */
export interface Named {
  readonly pid: number
  readonly command: string
}

/** What became of a child. */
export interface StoppedChild extends Named {
  readonly name?: string
  /** What it was asked with; absent where it was leaving, or was asked by somebody else. */
  asked?: string
  exit?: { code: number } | { signal: string }
  /** It did not end in time. */
  killed?: true
  report?: unknown
}

/** Parts of the time there is: then it is killed; then all the rest. */
const KILL = 0.9
const KILL_REST = 0.98

/** For killing, and seeing that it has gone, in milliseconds. */
const MARGIN = 150
/** From being asked once more, at which a program of ours leaves at once, to being killed, in milliseconds. */
const RESERVE = 1200
/** Milliseconds in which what was killed has gone, unless the kernel holds it. */
const GONE = 5000
/** Milliseconds for a program of ours to show that it is leaving, when somebody else seems to have asked it. */
const SHOW = 1000
/** A part of the time there is, for any other. */
const TRUST = 0.5
/** Milliseconds between two looks at what no event tells of: a descendant, or a second signal. */
const LOOK = 50

/** What came of a crew of them. */
export interface StoppedChildren {
  readonly children?: StoppedChild[]
  /** Descendants that had outlived them. */
  ended?: Named[]
  /** Descendants that are left alone. */
  escaped?: Named[]
}

/** Stops child processes at the same time, and what of their descendants has outlived each. */
export function* stopChildren(all: readonly Child[], stopping: Stopping): Looks<Problems> {
  const children = all.filter((child) => child.isThere(true) && !child.isOnItsOwn)
  if (children.length === 0) return []
  for (const child of children) child.isStopped = true
  const stopped: StoppedChild[] = children.map(({ pid, settings: { name } }) => ({
    ...named(pid),
    ...(name !== undefined && { name }),
  }))
  const told: StoppedChildren = { children: stopped }
  stopping.tell(told)
  const results = yield* together(
    children.map(function* (child, i): Looks<Problems> {
      const note = stopped[i] as StoppedChild
      // Without descriptors to look with, what can be done without is done.
      const descendants = orElse(() => new Descendants([child]), undefined)
      yield* stopChild(child, note, stopping)
      const problems = descendants ? yield* stopRest(descendants, told, stopping, child) : []
      const report = child.takeReport()
      if (report !== undefined) note.report = report
      child.over()
      return problems
    }),
  )
  return [
    ...stopped.filter(({ killed }) => killed).map((each) => `${describe(each)} did not end in time: it was killed`),
    ...results.flatMap((result) => (result.status === 'rejected' ? (result.reason as Error).message : result.value)),
  ]
}

/** Asks, waits, kills, and waits until it has gone. */
function* stopChild(child: Child, stopped: StoppedChild, { time, reason, isTurning }: Stopping): Looks<void> {
  const { pid } = child
  const most = child.settings.timeout
  const untilKill = () => parted(time, KILL, most)
  // Who is asked once more needs its own reserve for that.
  const untilAgain = () => untilKill() - Math.min(RESERVE, time.length(most) / 5)
  // Somebody else has asked already; if it doesn't seem to have heard, we do.
  const toldAt = Math.max(
    child.askedAt,
    orElse(() => toldByTerminalAt(child, reason), child.askedAt),
  )
  const shows = child.birth.mark !== undefined && orElse(() => hasExodos(pid), false)
  const trusted = Math.min(TRUST * time.length(most), shows ? SHOW : Number.POSITIVE_INFINITY)
  const first = toldAt + trusted
  let asked = 0
  while (child.isThere(isTurning) && untilKill() > 0) {
    const isLast = time.isForced || untilAgain() <= 0
    if ((asked === 0 && clock.now() >= first) || (asked < 2 && isLast)) {
      // To who is leaving it would be a second signal, which leaves no time.
      if (isLast || !orElse(() => isLeaving(pid), false)) stopped.asked = child.ask(asked > 0)
      asked = isLast ? 2 : 1
    }
    const next = asked === 0 ? first - clock.now() : asked === 1 ? untilAgain() : untilKill()
    yield { sleep: Math.max(0, Math.min(next, LOOK)), until: child.ended }
  }
  if (child.isThere(isTurning)) {
    stopped.killed = true
    child.kill()
    for (const gone = clock.now() + GONE; child.isThere(isTurning) && clock.now() < gone; )
      yield { sleep: Math.min(gone - clock.now(), LOOK), until: child.ended }
    if (child.isThere(isTurning)) throw new Error(`${describe(stopped)} is still there ${GONE} ms after SIGKILL`)
  }
  Object.assign(stopped, child.exit())
}

/** Stops what has outlived children that have ended: `child`, or any. */
export function* stopRest(
  descendants: Descendants,
  told: StoppedChildren,
  { time, reason }: Stopping,
  child?: Child,
): Looks<Problems> {
  const problems: string[] = []
  let since = child?.endedAt
  const members = () => {
    const rest = descendants.living(since)
    since = undefined
    for (const { pid } of rest)
      if (!told.ended?.some((each) => each.pid === pid)) told.ended = [...(told.ended ?? []), named(pid)]
    return rest
  }
  // What a terminal has told to them, too, may be under way.
  const isTold = child !== undefined && toldByTerminalAt(child, reason) > clock.now() - SHOW
  while (isTold && !time.isForced && time.until(TRUST) > 0 && descendants.living().length > 0) yield { sleep: LOOK }
  const { signal = 'SIGTERM', timeout = undefined } = child?.settings ?? {}
  const left = yield* tell(members, signal, () => parted(time, KILL_REST, timeout))
  if (left.length > 0) {
    problems.push(...left.map(({ pid }) => `${describe(named(pid))}, a descendant, did not end in time: it was killed`))
    yield* kill(members)
  }
  const escaped = descendants.escaped().map(({ pid }) => named(pid))
  if (escaped.length > 0) told.escaped = [...(told.escaped ?? []), ...escaped]
  // A warning of Node's comes too late.
  for (const each of escaped) writeError(`exodos: ${describe(each)} has left the tree: it is left alone\n`)
  return problems
}

/** Milliseconds until a part of the time is over, less what it takes to kill and to see that it has gone. */
function parted(time: Time, part: number, most?: number): number {
  return time.until(part, most) - Math.min(MARGIN, time.length(most) / 5)
}

const named = (pid: number): Named => ({ pid, command: orElse(() => commandOf(pid), '') })

const describe = ({ pid, command }: Named) => `PID ${pid} (${command})`
