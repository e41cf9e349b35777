import { clock } from '../../process/clock.js'
import { TREE } from '../../process/family.js'
import type { Looks } from '../../system/looks.js'
import { allSeen, environmentOf, isAlive, isLeaving, type Seen, seen, userOf } from '../../system/proc.js'
import { DONE, type Outcome, type ProcessAction } from '../records/action.js'
import type { Steps } from './steps.js'

/** Milliseconds in which a process that was sent SIGKILL is gone, unless the kernel holds it. */
const KILLED = 5000
/** Milliseconds between two looks: the first, and at most. */
const FIRST_LOOK = 1
const LAST_LOOK = 50

/**
 * Ends a process, or its group: asks, waits, kills, and waits until it has gone. A process is known by its pid and its start
 * time, and both are looked at again just before each signal. Never ends ourselves, those that started us, and those of
 * another user (root ends what it has started as somebody else).
 */
export function* end(target: ProcessAction): Steps<Outcome> {
  const { pid, start, signal, timeout } = target
  const reason = refused(target)
  if (reason !== undefined) return { left: `process ${pid} ${reason}` }
  const found = seen(pid)
  const all = () => members(target)
  const deadline = clock.now() + timeout
  const rest = yield* tell(all, signal, () => deadline - clock.now())
  if (rest.length > 0) yield* kill(all)
  return found && found.startTime !== start ? { left: `process ${pid} is not the one that was recorded` } : DONE
}

/** Kills all members, and waits until they have gone. */
export function* kill(members: () => Seen[]): Looks<void> {
  const deadline = clock.now() + KILLED
  const rest = yield* tell(members, 'SIGKILL', () => deadline - clock.now())
  if (rest.length > 0)
    throw new Error(`still there ${KILLED} ms after SIGKILL: process ${rest.map((each) => each.pid).join(', ')}`)
}

/**
 * Sends each member the signal once, those that come later as well; returns whoever is left when all have gone or time is
 * up, `left` in milliseconds. Who is leaving already isn't asked.
 */
export function* tell(members: () => Seen[], signal: string, left: () => number): Looks<Seen[]> {
  const told = new Set<string>()
  let rest = members()
  let pause = FIRST_LOOK
  while (rest.length > 0 && left() > 0) {
    for (const member of rest) {
      const name = `${member.pid} ${member.startTime}`
      if (!told.has(name)) send(member, signal)
      told.add(name)
    }
    // To look for all members is dear: it is done when those that are known have gone.
    for (let known = rest; known.length > 0 && left() > 0; known = known.filter(isAlive)) {
      yield { sleep: pause }
      pause = Math.min(pause * 2, LAST_LOOK)
    }
    rest = members()
  }
  return rest
}

/**
 * The process, as long as it is the one that was recorded, and those that belong to it. The number of a group or a session
 * isn't given to a new process while there are members. So where its leader is another one now, none are left of ours; where
 * there is no leader, they are ours if they are younger than it.
 */
function members({ pid, start, group, cookie }: ProcessAction): Seen[] {
  const leader = seen(pid)
  if (!group && cookie === undefined) return leader && leader.startTime === start && isAlive(leader) ? [leader] : []
  const isNumberOurs = group && (!leader || leader.startTime === start)
  const spared = ourLine()
  // What carries the mark of a tree descends from the process: no other environment has to be read.
  const mayCarry = ({ startTime }: Seen) => !cookie?.startsWith(`${TREE}=`) || BigInt(startTime) >= BigInt(start)
  const belongs = (each: Seen): boolean => {
    if (each.pid === pid) return each.startTime === start
    const isMember = isNumberOurs && BigInt(each.startTime) >= BigInt(start) && (each.group === pid || each.session === pid)
    return isMember || (mayCarry(each) && hasCookie(each.pid, cookie))
  }
  return allSeen().filter((each) => !/[ZX]/.test(each.state) && !spared.has(each.pid) && belongs(each) && isOurs(each.pid))
}

function refused({ pid, start }: ProcessAction): string | undefined {
  if (!Number.isInteger(pid) || pid <= 1) return 'is never ended'
  if (!/^\d+$/.test(start)) return 'was recorded without its start time, so it is not known from a later one'
  if (pid === process.pid) return 'is the one that was to end it'
  if (ourLine().has(pid)) return 'is one that has started us'
  if (seen(pid)?.startTime === start && !isOurs(pid)) return 'belongs to another user'
  return undefined
}

/** Ourselves, who started us, and so on. */
export function ourLine(): Set<number> {
  const line = new Set([0, 1])
  for (let pid: number | undefined = process.pid; pid !== undefined && !line.has(pid); pid = seen(pid)?.parent) line.add(pid)
  return line
}

function send(member: Seen, signal: string): void {
  // Who is leaving already would take it for a second signal, which leaves no time.
  if (!isAlive(member) || (signal !== 'SIGKILL' && isLeaving(member.pid))) return
  try {
    process.kill(member.pid, signal)
    // One that is stopped couldn't hear it.
    if (member.state === 'T') process.kill(member.pid, 'SIGCONT')
  } catch (error) {
    // It has gone; or it has become another user's by running a program that is set to, and will be found to be still there.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

function isOurs(pid: number): boolean {
  const own = process.getuid?.()
  return own === 0 || userOf(pid) === own
}

/** An entry of the environment: itself, or as the first part of a list with colons. */
export function hasCookie(pid: number, cookie: string | undefined): boolean {
  const [name, ...value] = cookie?.split('=') ?? []
  if (name === undefined || name === '') return false
  const there = environmentOf(pid, name)
  return there === value.join('=') || there?.startsWith(`${value.join('=')}:`) === true
}
