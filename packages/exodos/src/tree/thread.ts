import type { Worker } from 'node:worker_threads'
import { clock } from '../process/clock.js'
import { debugTopics, realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { FORCED, PLACE, STATE, WORDS } from '../process/stop-request.js'
import type { Looks } from '../system/looks.js'
import { orElse, seen } from '../system/proc.js'
import type { Stopping } from './crew.js'
import { type Entered, enter } from './inspector.js'

/** Parts of the time there is: for its own way out; then only its synchronous hooks are called; then it is terminated. */
const OWN = 0.7
const CUT = 0.8
const TERMINATE = 0.9
const GONE = 0.98
/** The same for a loop that has not turned since it was asked, and can't be freed. */
const TURN = 0.5
/** For its loop to turn, in milliseconds, before it is taken for blocked. */
const PATIENCE = 250
/** For an answer of what has entered a blocked loop, in milliseconds. */
const ENTERED = 1000
/** Milliseconds between two looks at memory that no event tells of. */
const LOOK = 50
/** How often a loop that was met in a function of Node's is met again, and the milliseconds in between. */
const MEETINGS = 8
const PAUSE = 10

/** A worker thread, as the one that has started it sees it. */
export interface Thread {
  readonly number: number
  /** Undefined for one that was started by a thread that doesn't look after it. */
  readonly worker: Worker | undefined
  /** What it shares with us; undefined while it has had no hooks. */
  words?: Int32Array
  /** The kernel's number of it. */
  task?: number | undefined
  /** Past our own patch. */
  terminate(): void
  readonly ended: Promise<unknown>
  readonly hasEnded: boolean
}

/** What became of a thread. */
export interface StoppedThread {
  readonly thread: number
  /** Its event loop did not turn. */
  blocked?: true
  /** What it was doing was ended, so that it could leave. */
  freed?: true
  /** It did not end in time. */
  terminated?: true
  report?: unknown
}

export const stateOf = (words: Int32Array) => Atomics.load(words, WORDS.state)

/** Has it hooks that have not all been called? */
export function isToBeAsked(thread: Thread): boolean {
  const { words, hasEnded } = thread
  const isOpen = words !== undefined && (stateOf(words) === STATE.hooks || stateOf(words) === STATE.leaving)
  return isOpen && !hasEnded && isThere(thread)
}

/** Where no event tells: it may have been terminated. */
function isThere({ task }: Thread): boolean {
  return task === undefined || orElse(() => seen(realProcess.pid, task) !== undefined, true)
}

/**
 * Asks the thread to leave, waits, enters it where it is blocked, and terminates it; notes in `stopped` what it does. `turn`:
 * the part of the time in which a loop that can't be freed may still turn by itself.
 */
export function* stopThread(
  thread: Thread,
  stopped: StoppedThread,
  { time, isTurning }: Pick<Stopping, 'time' | 'isTurning'>,
  turn = TURN,
): Looks<void> {
  const words = thread.words as Int32Array
  const isToldByEvent = isTurning && thread.worker !== undefined
  const hasHeard = () => stateOf(words) !== STATE.hooks
  const isOver = () => thread.hasEnded || stateOf(words) === STATE.over || !(isToldByEvent || isThere(thread))
  const hasEnded = () => (isToldByEvent ? thread.hasEnded : isOver())
  function* waitFor(condition: () => boolean, part: number, most: number = Number.POSITIVE_INFINITY): Looks<void> {
    const end = clock.now() + most
    for (
      let left = Math.min(time.until(part), most);
      !condition() && left > 0;
      left = Math.min(time.until(part), end - clock.now())
    ) {
      if (time.isForced) ask(words, FORCED)
      yield { sleep: Math.min(left, LOOK), until: thread.ended }
    }
  }

  function* tryToFree(thread: Entered): Looks<number> {
    const place = () => Atomics.load(words, WORDS.place)
    // It may be met in a function of Node's that it calls again and again, and a moment later in none.
    for (let meeting = 0; meeting < MEETINGS; meeting++) {
      Atomics.store(words, WORDS.place, PLACE.unknown)
      thread.look()
      yield* waitFor(() => isOver() || place() !== PLACE.unknown, CUT, ENTERED)
      if (isOver() || place() !== PLACE.other) break
      yield* waitFor(isOver, CUT, PAUSE)
    }
    // A loop that turns has nothing of Node's on its stack; nor has what goes on after an `await`.
    const isKept = place() === PLACE.message || (place() === PLACE.none && !hasHeard())
    if (isKept && !isOver()) {
      thread.free()
      stopped.freed = true
    }
    return place()
  }

  Atomics.store(words, WORDS.wantsReport, wantsReport() ? 1 : 0)
  ask(words, Math.max(FORCED + 1, time.until(OWN)))
  let inside: Entered | undefined
  const isAwake = () => isOver() || hasHeard()
  yield* waitFor(isAwake, CUT, PATIENCE)
  if (!isAwake()) {
    stopped.blocked = true
    // What works may come to an end by itself; what sleeps waits for somebody else.
    yield* waitFor(() => isAwake() || isAsleep(thread), turn)
    inside = enter(thread.number)
    if (!isAwake() && (yield* tryToFree(inside)) !== PLACE.other) yield* waitFor(isAwake, CUT, ENTERED)
    yield* waitFor(isAwake, turn)
  }
  // Others may still want something of its own 'exit' event.
  while (hasHeard() && !hasEnded() && time.until(CUT) > 0) {
    yield* waitFor(hasEnded, CUT, ENTERED)
    // A message may keep it now.
    if (hasEnded() || !isAsleep(thread)) continue
    inside ??= enter(thread.number)
    yield* tryToFree(inside)
  }
  if (!isOver()) {
    stopped.blocked = true
    delete stopped.freed
    inside ??= enter(thread.number)
    inside.cut()
    yield* waitFor(isOver, TERMINATE, ENTERED)
    if (!isOver()) stopped.terminated = true
  }
  inside?.leave()
  if (!thread.hasEnded) thread.terminate()
  if (isToldByEvent) yield* waitFor(hasEnded, GONE)
}

/** As in `Atomics.wait`, where the threads of pools wait for work. */
function isAsleep({ task }: Thread): boolean {
  return task !== undefined && orElse(() => seen(realProcess.pid, task)?.state === 'S', false)
}

function ask(words: Int32Array, ms: number): void {
  if (Atomics.load(words, WORDS.asked) === FORCED) return
  Atomics.store(words, WORDS.asked, ms)
  Atomics.notify(words, WORDS.asked)
}

function wantsReport(): boolean {
  return coordinator().state.policy.report !== undefined || debugTopics().length > 0
}

/** What did not go well, in words. */
export function problemsOf({ thread, blocked, freed, terminated }: StoppedThread): string[] {
  if (terminated) return [`thread ${thread} did not end in time: it was terminated, and not all of its hooks were called`]
  return blocked && !freed ? [`the event loop of thread ${thread} is blocked: only its synchronous hooks were called`] : []
}
