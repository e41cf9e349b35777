import type { Session } from 'node:inspector'
import { builtin } from '../process/real.js'
import { PLACE, WORDS, WORDS_KEY } from '../process/stop-request.js'

/**
 * Is called in the middle of whatever keeps the thread's event loop, and says where it is. To end what is executed there is
 * safe where nothing of Node's is in between that would have to put something back: that is, in what a message has called.
 * In timers, `process.nextTick`, `AsyncResource.runInAsyncScope` and others Node would abort, with all threads; and where
 * somebody follows promises, in what goes on after an `await`.
 */
const FIND_PLACE = `{
  const { stackTraceLimit, prepareStackTrace } = Error
  Error.stackTraceLimit = Infinity
  Error.prepareStackTrace = undefined
  const frames = new Error().stack.split('\\n').filter((frame) => frame.includes('node:'))
  Object.assign(Error, { stackTraceLimit, prepareStackTrace })
  const known = /callbackTrampoline|node:(internal\\/(per_context\\/messageport|event_target|worker)|events)\\b/
  const isMessage = frames.every((frame) => known.test(frame))
  const resource = process.getBuiltinModule('node:async_hooks').executionAsyncResource()
  const isHooked = Object.prototype.toString.call(resource) === '[object Promise]'
  const words = process.getBuiltinModule('node:events')[Symbol.for('${WORDS_KEY}')]
  const place = frames.length > 0 ? isMessage && ${PLACE.message} : !isHooked && ${PLACE.none}
  Atomics.store(words, ${WORDS.place}, place || ${PLACE.other})
}`

/** As if the thread ended by itself, with its event loop as it is: what is synchronous is called. */
const CUT = "process._exiting = true; process.emit('exit', 1)"

/** A way into a worker thread whose event loop doesn't turn. Where there is none, as in a thread's own threads, nothing happens. */
export interface Entered {
  /** Finds out where it is, see `WORDS.place`. */
  look(): void
  /** Ends what is being executed: the loop goes on with what waits. */
  free(): void
  /** Calls the exit hooks that are synchronous. */
  cut(): void
  leave(): void
}

/**
 * Node's inspector enters a loop that never ends, a regular expression or `Atomics.wait`; a call such as `execSync` when it
 * returns.
 */
export function enter(thread: number): Entered {
  const post = connect(thread)
  const evaluate = (expression: string) => post?.send('Runtime.evaluate', { expression })
  return {
    look: () => evaluate(FIND_PLACE),
    free: () => post?.send('Runtime.terminateExecution', {}),
    cut: () => evaluate(CUT),
    leave: () => post?.close(),
  }
}

function connect(thread: number): { send(method: string, params: object): void; close(): void } | undefined {
  try {
    const session: Session = new (builtin<typeof import('node:inspector')>('node:inspector').Session)()
    const post = session.post.bind(session) as (method: string, params: object) => void
    let sessionId: string | undefined
    let id = 0
    session.connect()
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      const found = params as { sessionId: string; workerInfo: { title: string } }
      // `workerId` counts the sessions; what it is called has the thread's own number.
      if (found.workerInfo.title.startsWith(`[worker ${thread}]`)) sessionId = found.sessionId
    })
    // Tells of all threads before it returns.
    post('NodeWorker.enable', { waitForDebuggerOnStart: false })
    return {
      send(method, params) {
        if (sessionId === undefined) return
        quietly(() =>
          post('NodeWorker.sendMessageToWorker', { sessionId, message: JSON.stringify({ id: ++id, method, params }) }),
        )
      },
      close: () => quietly(() => session.disconnect()),
    }
  } catch {
    // The permission model, or a runtime without an inspector: the thread is terminated.
    return undefined
  }
}

/** The thread may have ended. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}
