import { hasProc } from '../system/proc.js'
import type { Trigger, WayOut } from './coordinator.js'
import { builtin, EventEmitter, listenOnce, realProcess } from './real.js'

/**
 * What a worker thread and the one that has started it know of each other: four words of shared memory, because they have
 * to be read and written while an event loop is stopped.
 */
export const WORDS = {
  /** Milliseconds that the thread has from then on; 0 while nobody has asked it to stop. */
  asked: 0,
  state: 1,
  /** 1: the other one wants the report. */
  wantsReport: 2,
  /** Where a blocked loop was found to be. */
  place: 3,
  count: 4,
} as const

/** Of `asked`, and less than anything else: what is left has to be done at once. */
export const FORCED = 1

export const STATE = {
  /** It has no hooks: nobody has to ask. */
  idle: 0,
  hooks: 1,
  /** It has heard, and is leaving. */
  leaving: 2,
  over: 3,
} as const

export const PLACE = { unknown: 0, message: 1, other: 2, none: 3 } as const

/** The symbol by which the words are found from within, on the `EventEmitter` of `node:events`. */
export const WORDS_KEY = 'exodos.words'

/** The name of the `BroadcastChannel`: a new thread has no other way to its starter that the program doesn't see. */
export const CHANNEL = 'exodos.threads'

export type Message =
  /** There are hooks in this thread, and this is how to ask it. */
  | { readonly kind: 'hello'; readonly thread: number; readonly task: number | undefined; readonly memory: SharedArrayBuffer }
  /** The thread was started by one that looks after it. */
  | { readonly kind: 'mine'; readonly thread: number }
  | { readonly kind: 'report'; readonly thread: number; readonly report: unknown }

type Threads = typeof import('node:worker_threads')
const threads = () => builtin<Threads>('node:worker_threads')

/** What `worker.terminate()` gives. */
const TERMINATED = 1

/** Whoever has started this worker thread asks it to stop: `worker.terminate()`, or its own end. */
export function stopRequest(out: WayOut): Trigger & { report(make: () => unknown): void } {
  let words: Int32Array | undefined

  function open(): Int32Array {
    const memory = new SharedArrayBuffer(4 * WORDS.count)
    const made = new Int32Array(memory)
    Object.assign(EventEmitter, { [Symbol.for(WORDS_KEY)]: made })
    post({ kind: 'hello', thread: threads().threadId, task: taskNumber(), memory })
    listen(made, 0)
    return made
  }

  /** Wakes an idle loop, and holds none. */
  function listen(on: Int32Array, before: number): void {
    if (!Atomics.waitAsync) return
    const { async, value } = Atomics.waitAsync(on, WORDS.asked, before)
    if (async) void value.then(() => hear(on))
    else hear(on)
  }

  function hear(on: Int32Array): void {
    const asked = Atomics.load(on, WORDS.asked)
    Atomics.store(on, WORDS.state, STATE.leaving)
    if (out.idle) realProcess.exit(TERMINATED)
    else out.leave({ kind: 'worker', code: TERMINATED }, asked)
    if (asked === FORCED) out.force()
    else listen(on, asked)
  }

  const onExit = () => {
    if (!words) return
    Atomics.store(words, WORDS.state, STATE.over)
    Atomics.notify(words, WORDS.state)
  }

  const change = (from: number, to: number) => words && Atomics.compareExchange(words, WORDS.state, from, to)

  return {
    install() {
      words ??= open()
      change(STATE.idle, STATE.hooks)
      listenOnce('exit', onExit)
    },
    uninstall() {
      // Who has been asked says when it is over.
      if (change(STATE.hooks, STATE.idle) !== STATE.leaving) realProcess.off('exit', onExit)
    },
    report(make) {
      if (words && Atomics.load(words, WORDS.wantsReport) === 1)
        post({ kind: 'report', thread: threads().threadId, report: make() })
    },
  }
}

/** Of this thread, where the kernel tells. */
function taskNumber(): number | undefined {
  if (!hasProc()) return undefined
  try {
    return Number(/\d+$/.exec(builtin<typeof import('node:fs')>('node:fs').readlinkSync('/proc/thread-self'))?.[0])
  } catch {
    return undefined
  }
}

function post(message: Message): void {
  const channel = new (threads().BroadcastChannel)(CHANNEL)
  channel.postMessage(message)
  channel.close()
}
