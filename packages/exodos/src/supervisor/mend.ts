import type { Frame, Inspector } from '../watchdog/stuck.js'

const LEAVE_CONTEXT = ['emitAfter(asyncId)', 'AsyncContextFrame.set(priorContextFrame)']

/**
 * What Node itself does in `finally` after a callback, by the function that calls it: ended from outside, it is skipped,
 * and the queue of immediates, the count of timers and the stack of async contexts are left as they were. Then other
 * callbacks are lost, the loop never ends or ends too soon, or Node aborts. Names are those of Node 20 to 26; what doesn't
 * exist in a version is skipped.
 */
const REPAIRS: Readonly<Record<string, readonly string[]>> = {
  processImmediate: [
    // Between two of them there is nothing to do.
    'if (immediate._destroyed) { immediate._onImmediate = null; outstandingQueue.head = immediate._idleNext }',
    ...LEAVE_CONTEXT,
  ],
  listOnTimeout: [
    // An interval isn't started again: it would be stuck again.
    `if (!timer._idleNext && !timer._idlePrev && !timer._destroyed) {
      timer._destroyed = true
      if (timer[kHasPrimitive]) delete knownTimersById[asyncId]
      if (timer[kRefed]) timeoutInfo[0]--
    }`,
    ...LEAVE_CONTEXT,
  ],
  processTicksAndRejections: LEAVE_CONTEXT,
  runInAsyncScope: ['emitAfter(asyncId)'],
}

/** To be called while paused, with Node's own frames, right before what is stuck is ended: leaves Node as after an error thrown there. */
export async function mend(inspector: Inspector, nodes: readonly Frame[]): Promise<void> {
  for (const { callFrameId, functionName } of nodes) {
    const repairs = Object.hasOwn(REPAIRS, functionName) ? REPAIRS[functionName] : undefined
    for (const expression of repairs ?? [])
      await inspector.post('Debugger.evaluateOnCallFrame', { callFrameId, expression, silent: true }).catch(() => {})
  }
}
