import type { Worker } from 'node:worker_threads'
import { clock } from '../process/clock.js'
import { builtin, debugTopics, EventEmitter, realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { CHANNEL, FORCED, type Message, STATE, WORDS } from '../process/stop-request.js'
import { type Looks, lookAgain, together } from '../system/looks.js'
import { seen } from '../system/proc.js'
import { joinCrew, type Result, type Stopping, Time } from './crew.js'
import { interrupt } from './interrupt.js'

type Threads = typeof import('node:worker_threads')
const threads = () => builtin<Threads>('node:worker_threads')

/** Parts of the time there is: for its own way out; then its loop is taken for blocked, and entered; then it is terminated. */
const OWN = 0.7
const ENTER = 0.8
const TERMINATE = 0.9
const GONE = 0.98
/** The same for a loop that has not turned since it was asked. */
const TURN = 0.5
/** For a loop to turn when `terminate()` was called by hand, in milliseconds: the thread may be a runaway. */
const PATIENCE = 250
/** For hooks that were called in a blocked loop, in milliseconds. */
const ENTERED = 1000
/** Milliseconds between two looks at memory that no event tells of. */
const LOOK = 50

/** A worker thread, as the one that has started it sees it. */
interface Thread {
  readonly number: number
  /** Undefined for one that was started by somebody who doesn't look after it. */
  readonly worker: Worker | undefined
  /** What it shares with us; undefined while it has no hooks. */
  words: Int32Array | undefined
  /** The kernel's number of it. */
  task?: number | undefined
  /** How it is terminated past our own patch. */
  terminate(): Promise<number>
  readonly ended: Promise<unknown>
  hasEnded: boolean
  report?: unknown
}

/** What became of a thread. */
interface StoppedThread {
  readonly thread: number
  /** Its event loop was blocked: only what is synchronous was called. */
  blocked?: true
  /** It did not end in time. */
  terminated?: true
  report?: unknown
}

const KEY = Symbol.for('exodos.threads')
const once = EventEmitter as unknown as { [KEY]?: true }

/**
 * Worker threads of this one that have hooks are stopped where they stand in its order, and `worker.terminate()` lets their
 * hooks run first. Once for all copies of exodos; it costs nothing until a thread is started.
 */
export function lookAfterThreads(): void {
  if (once[KEY]) return
  once[KEY] = true
  const { subscribe } = builtin<typeof import('node:diagnostics_channel')>('node:diagnostics_channel')
  subscribe('worker_threads', (message) => adopt((message as { worker: Worker }).worker))
  // It has no such channel, and tells of a thread before it starts.
  if (realProcess.versions.bun) realProcess.on('worker', adopt)
}

const known = new Map<number, Thread>()
/** Those that others look after. */
const foreign = new Set<number>()
let channel: InstanceType<Threads['BroadcastChannel']> | undefined

function adopt(worker: Worker): void {
  listen()
  const number = worker.threadId
  if (!threads().isMainThread) channel?.postMessage({ kind: 'mine', thread: number } satisfies Message)
  const inner = worker.terminate
  const thread: Thread = {
    number,
    worker,
    words: undefined,
    terminate: () => inner.call(worker),
    ended: new Promise((resolve) => void worker.once('exit', resolve)),
    hasEnded: false,
  }
  worker.terminate = function terminate(this: Worker) {
    return terminateWell(thread)
  }
  add(thread)
}

function add(thread: Thread): void {
  known.set(thread.number, thread)
  // One that is started on the way out is a part of that, as our own watchdog.
  const leave = coordinator().state.exiting.signal.aborted ? () => {} : join(thread)
  void thread.ended.then(() => {
    thread.hasEnded = true
    known.delete(thread.number)
    leave()
  })
}

function listen(): void {
  if (channel) return
  channel = new (threads().BroadcastChannel)(CHANNEL)
  channel.onmessage = (event: unknown) => hear((event as { data: Message }).data)
  channel.unref()
}

/** Hears what was said and not yet told us: the loop may never turn again. */
function catchUp(): void {
  for (let next = receive(); next; next = receive()) hear(next.message as Message)
}

function receive(): { message: unknown } | undefined {
  try {
    return channel && threads().receiveMessageOnPort(channel as never)
  } catch {
    // Deno takes no such channel: what the event loop has brought has to do.
    return undefined
  }
}

function hear(message: Message): void {
  if (message.kind === 'mine') foreign.add(message.thread)
  else if (message.kind === 'report') {
    const thread = known.get(message.thread)
    if (thread) thread.report = message.report
  } else {
    const words = new Int32Array(message.memory)
    const thread = known.get(message.thread) ?? stranger(message.thread, words)
    if (thread) Object.assign(thread, { words, task: message.task })
  }
}

/** Who was started by a thread that doesn't look after it is the main thread's. */
function stranger(number: number, words: Int32Array): Thread | undefined {
  if (!threads().isMainThread || foreign.has(number)) return undefined
  const ended = whenOver(words)
  const thread: Thread = { number, worker: undefined, words, terminate: async () => 0, ended, hasEnded: false }
  add(thread)
  return thread
}

async function whenOver(words: Int32Array): Promise<void> {
  for (let state = stateOf(words); state !== STATE.over; state = stateOf(words))
    await Atomics.waitAsync(words, WORDS.state, state).value
}

function ask(words: Int32Array, ms: number): void {
  if (Atomics.load(words, WORDS.asked) === FORCED) return
  Atomics.store(words, WORDS.asked, ms)
  Atomics.notify(words, WORDS.asked)
}

/** Where the event loop doesn't tell: it may have been terminated. */
function isThere({ task }: Thread): boolean {
  return task === undefined || seen(realProcess.pid, task) !== undefined
}

const stateOf = (words: Int32Array) => Atomics.load(words, WORDS.state)

/** Has it hooks that have not all been called? */
function isToBeAsked(thread: Thread): boolean {
  const { words, hasEnded } = thread
  return (
    !hasEnded && words !== undefined && isThere(thread) && (stateOf(words) === STATE.hooks || stateOf(words) === STATE.leaving)
  )
}

/** What `worker.terminate()` does now: asks, waits no longer than the grace period, then terminates as ever. */
function terminateWell(thread: Thread): Promise<number> {
  catchUp()
  if (!isToBeAsked(thread)) return thread.terminate()
  const end = clock.now() + coordinator().state.policy.grace
  const time = new Time(() => end - clock.now())
  thread.worker?.ref()
  const stopped = lookAgain(stopThread(thread, { time, isTurning: true }, PATIENCE))
  return Promise.resolve(stopped).then(() => thread.ended as Promise<number>)
}

const join = joinCrew('threads', stopAll)

function* stopAll(all: readonly Thread[], stopping: Stopping): Looks<Result> {
  catchUp()
  const asked = all.filter(isToBeAsked)
  const results = yield* together(asked.map((thread) => stopThread(thread, stopping, stopping.time.until(TURN))))
  catchUp()
  const told = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []))
  for (const [i, { report }] of asked.entries()) if (report !== undefined) (told[i] as StoppedThread).report = report
  const problems = told.flatMap(({ thread, blocked, terminated }) => [
    ...(terminated ? [`thread ${thread} did not end in time: it was terminated, and not all of its hooks were called`] : []),
    ...(blocked && !terminated ? [`the event loop of thread ${thread} is blocked: only its synchronous hooks were called`] : []),
  ])
  return { told, problems }
}

/** `patience`: milliseconds for its event loop to turn. */
function* stopThread(
  thread: Thread,
  { time, isTurning }: Pick<Stopping, 'time' | 'isTurning'>,
  patience: number,
): Looks<StoppedThread> {
  const words = thread.words as Int32Array
  const { policy } = coordinator().state
  const hasHeard = () => stateOf(words) !== STATE.hooks
  const isOver = () => thread.hasEnded || stateOf(words) === STATE.over || !(isTurning || isThere(thread))
  const hasEnded = () => (isTurning ? thread.hasEnded : isOver())
  function* waitFor(condition: () => boolean, part: number, most = Number.POSITIVE_INFINITY): Looks<void> {
    const end = clock.now() + most
    for (let left = time.until(part); !condition() && left > 0; left = Math.min(time.until(part), end - clock.now())) {
      if (time.isForced) ask(words, FORCED)
      yield { sleep: Math.min(left, LOOK), until: thread.ended }
    }
  }

  Atomics.store(words, WORDS.wantsReport, policy.report === undefined && debugTopics().length === 0 ? 0 : 1)
  ask(words, Math.max(FORCED + 1, time.until(OWN)))
  const stopped: StoppedThread = { thread: thread.number }
  yield* waitFor(() => isOver() || hasHeard(), ENTER, patience)
  // Others may still want something of its own 'exit' event.
  if (hasHeard()) yield* waitFor(hasEnded, ENTER)
  let leave = () => {}
  if (!isOver()) {
    stopped.blocked = true
    leave = interrupt(thread.number)
    yield* waitFor(isOver, TERMINATE, ENTERED)
    if (!isOver()) stopped.terminated = true
  }
  leave()
  if (!thread.hasEnded) void thread.terminate()
  if (isTurning) yield* waitFor(hasEnded, GONE)
  return stopped
}
