import type { Worker } from 'node:worker_threads'
import { clock } from '../process/clock.js'
import { builtin, EventEmitter, realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { CHANNEL, type Message, STATE, WORDS } from '../process/stop-request.js'
import { isSupervised, tellChild } from '../process/supervised.js'
import { type Looks, lookAgain, together } from '../system/looks.js'
import { joinCrew, type Membership, type Problems, type Stopping, Time } from './crew.js'
import { isToBeAsked, problemsOf, type StoppedThread, stateOf, stopThread, type Thread } from './thread.js'

type Threads = typeof import('node:worker_threads')
const threads = () => builtin<Threads>('node:worker_threads')

const KEY = Symbol.for('exodos.threads')
const holder = EventEmitter as unknown as { [KEY]?: true }

/**
 * Worker threads of this one that have hooks are stopped where they stand in its order, and `worker.terminate()` lets their
 * hooks run first. Once for all copies of exodos; it costs nothing until a thread is started.
 */
export function lookAfterThreads(): void {
  if (holder[KEY]) return
  holder[KEY] = true
  const { subscribe } = builtin<typeof import('node:diagnostics_channel')>('node:diagnostics_channel')
  subscribe('worker_threads', (message) => adopt((message as { worker: Worker }).worker))
  // It has no such channel, and tells of a thread before it starts.
  if (realProcess.versions.bun) realProcess.on('worker', adopt)
}

/** Those that live, and the crew that each is in. */
const known = new Map<number, { readonly thread: Thread; readonly isOurs: boolean; crew: Membership | undefined }>()
/** Those that other threads look after. */
const foreign = new Set<number>()
/** Those that a crew is stopping, and what they have reported. */
const asked = new Set<number>()
const reports = new Map<number, unknown>()
let channel: InstanceType<Threads['BroadcastChannel']> | undefined

const isLeaving = () => coordinator().leaving

function adopt(worker: Worker): void {
  channel ??= openChannel()
  const number = worker.threadId
  if (!threads().isMainThread) channel.postMessage({ kind: 'mine', thread: number } satisfies Message)
  const inner = worker.terminate
  const thread: Thread = {
    number,
    worker,
    terminate: () => void inner.call(worker),
    ended: new Promise((resolve) => void worker.once('exit', resolve)),
    // The program may have taken our listener off.
    get hasEnded() {
      return worker.threadId === -1
    },
  }
  worker.terminate = function terminate(...args: unknown[]) {
    catchUp()
    if (!isToBeAsked(thread)) return inner.apply(worker, args as [])
    const [callback] = args
    if (typeof callback === 'function') worker.once('exit', (code) => callback(null, code))
    return terminateWell(thread, () => inner.call(worker))
  }
  const isLate = isLeaving()
  if (!isLate) tellSupervisor(thread)
  // What is started on the way out is a part of it, as our own watchdog, or somebody's who starts a new one for each that
  // is stopped; but what a hook starts has hooks of its own.
  add(thread, !isLate, !isLate || coordinator().call !== undefined)
}

/** What `worker.terminate()` does now: asks, waits no longer than the grace period, then terminates as ever. */
async function terminateWell(thread: Thread, terminate: () => Promise<number>): Promise<number> {
  const end = clock.now() + coordinator().state.policy.grace
  thread.worker?.ref()
  // It may be a runaway: then it isn't waited for.
  const stopping = { time: new Time(() => end - clock.now()), isTurning: true }
  let code: number | undefined
  void thread.ended.then((ended) => {
    code = ended as number
  })
  await lookAgain(stopThread(thread, { thread: thread.number }, stopping, 0))
  // Of one that has ended it tells nothing.
  return (await terminate()) ?? code ?? 1
}

/** `isOurs`: it is to be stopped once it has hooks. */
function add(thread: Thread, isJoining: boolean, isOurs: boolean): void {
  const entry = { thread, isOurs, crew: isJoining ? joinLate(thread) : undefined }
  known.set(thread.number, entry)
  void thread.ended.then(() => {
    known.delete(thread.number)
    foreign.delete(thread.number)
    entry.crew?.leave()
  })
}

function tellSupervisor({ number, ended }: Thread): void {
  if (!isSupervised) return
  const told = { pid: realProcess.pid, thread: number, parent: realProcess.pid }
  tellChild({ ...told, at: Date.now(), command: `thread ${number}` })
  void ended.then((code) => tellChild({ ...told, at: Date.now(), exit: { code: Number(code) } }))
}

function openChannel(): InstanceType<Threads['BroadcastChannel']> {
  const opened = new (threads().BroadcastChannel)(CHANNEL)
  opened.onmessage = (event: unknown) => hear((event as { data: Message }).data, true)
  opened.unref()
  return opened
}

/** Hears what was said and not yet told us: the loop may never turn again. */
function catchUp(): void {
  for (let next = receive(); next; next = receive()) hear(next.message as Message, false)
}

function receive(): { message: unknown } | undefined {
  try {
    return channel && threads().receiveMessageOnPort(channel as never)
  } catch {
    // Deno takes no such channel: what the event loop has brought has to do.
    return undefined
  }
}

/** `isLate`: a crew that is being stopped has not asked for it. */
function hear(message: Message, isLate: boolean): void {
  const { kind, thread: number } = message
  if (kind === 'mine') foreign.add(number)
  else if (kind === 'report') {
    if (asked.has(number)) reports.set(number, message.report)
  } else {
    const { memory, task } = message
    const there = known.get(number)
    if (there) {
      Object.assign(there.thread, { words: new Int32Array(memory), task })
      if (isLate && isLeaving() && there.isOurs && there.crew?.isOver !== false) there.crew = joinLate(there.thread)
    } else if (threads().isMainThread && !foreign.has(number)) add(stranger(number, new Int32Array(memory), task), true, true)
  }
}

function joinLate(thread: Thread): Membership | undefined {
  try {
    return join(thread)
  } catch (error) {
    // All hooks have run: it ends with us.
    if ((error as { code?: unknown }).code !== 'ERR_EXODOS_CLOSED') throw error
    return undefined
  }
}

/** It was started by a thread that doesn't look after it: the main thread does. */
function stranger(number: number, words: Int32Array, task: number | undefined): Thread {
  return {
    number,
    worker: undefined,
    words,
    task,
    terminate() {},
    ended: whenOver(words),
    get hasEnded() {
      return stateOf(words) === STATE.over
    },
  }
}

async function whenOver(words: Int32Array): Promise<void> {
  for (let state = stateOf(words); state !== STATE.over; state = stateOf(words))
    await Atomics.waitAsync(words, WORDS.state, state).value
}

const join = joinCrew({ name: 'threads', stays: false }, function* (all: readonly Thread[], stopping: Stopping): Looks<Problems> {
  const stopped: StoppedThread[] = []
  stopping.tell(stopped)
  // Those that have got their first hook meanwhile as well.
  for (let some = next(all, stopped); some.length > 0; some = next(all, stopped)) {
    const notes = some.map(({ number }): StoppedThread => ({ thread: number }))
    stopped.push(...notes)
    for (const { number } of some) asked.add(number)
    yield* together(some.map((thread, i) => stopThread(thread, notes[i] as StoppedThread, stopping)))
  }
  catchUp()
  for (const each of stopped) {
    const report = reports.get(each.thread)
    if (report !== undefined) each.report = report
    reports.delete(each.thread)
    asked.delete(each.thread)
  }
  return stopped.flatMap(problemsOf)
})

function next(all: readonly Thread[], stopped: readonly StoppedThread[]): Thread[] {
  catchUp()
  return all.filter((thread) => isToBeAsked(thread) && !stopped.some((each) => each.thread === thread.number))
}
