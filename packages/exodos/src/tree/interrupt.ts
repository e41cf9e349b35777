import type { Session } from 'node:inspector'
import { builtin } from '../process/real.js'

/** As if the thread ended by itself, with its event loop as it is: what is synchronous is called. */
const EXPRESSION = "process._exiting = true; process.emit('exit', 1)"

/**
 * Has a worker thread run its exit hooks although its event loop doesn't turn: Node's inspector enters a loop that never
 * ends, a regular expression or `Atomics.wait`. Nothing happens where there is no inspector, and in a thread's own threads.
 * Returns how to let go of it.
 */
export function interrupt(thread: number): () => void {
  let session: Session | undefined
  try {
    session = new (builtin<typeof import('node:inspector')>('node:inspector').Session)()
    session.connect()
    const { post } = session as unknown as { post(method: string, params: object): void }
    session.on('NodeWorker.attachedToWorker', ({ params }) => {
      const { sessionId, workerInfo } = params as { sessionId: string; workerInfo: { title: string } }
      // `workerId` counts the sessions; what it is called has the thread's own number.
      if (!workerInfo.title.startsWith(`[worker ${thread}]`)) return
      const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression: EXPRESSION } })
      post.call(session, 'NodeWorker.sendMessageToWorker', { sessionId, message })
    })
    post.call(session, 'NodeWorker.enable', { waitForDebuggerOnStart: false })
  } catch {
    // The permission model, or a runtime without it: the thread is terminated.
  }
  return () => {
    try {
      session?.disconnect()
    } catch {
      // It was never connected.
    }
  }
}
