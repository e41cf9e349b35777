import { surfaced } from './exit-request.js'
import { Patch } from './patch.js'
import { realProcess } from './real.js'

/** Is given how to go on with the event, and its arguments; returns what `emit` is to return. */
export type Interceptor = (next: () => boolean, args: unknown[]) => boolean

/**
 * `process.emit`, seen from outside: a listener of ours would change what other libraries conclude from the number
 * of listeners ("the app handles this error"), and would keep a forked child alive ('disconnect').
 */
export const interceptors = new Map<unknown, Interceptor>()

export const emitPatch = new Patch('emit', (inner, [event, ...args]): boolean => {
  const next = (): boolean => inner.call(realProcess, event, ...args)
  const intercept = interceptors.get(event)
  try {
    return intercept ? intercept(next, args) : next()
  } catch (error) {
    // A listener called process.exit(): what it was thrown for is under way.
    if (surfaced(error)) return true
    throw error
  }
})
