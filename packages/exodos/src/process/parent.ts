import { isAlive } from '../system/proc.js'
import { atEachLook } from './clock.js'
import type { Trigger, WayOut } from './coordinator.js'
import { interceptors } from './emit.js'
import { type Parent, parentInTree } from './family.js'
import { environment, listenOnce, realProcess } from './real.js'

/** Counts of listeners hold a channel open; undocumented, so called only where they are there. */
type Channel = { refCounted?(): void; unrefCounted?(): void } | undefined

/**
 * The parent is lost: the IPC channel closes (it died, or let go), or PM2 says 'shutdown'. Without a channel, whoever has
 * put us into its tree is looked for four times a second, which takes 20 µs.
 *
 * Seen through `process.emit`: a listener for 'disconnect' or 'message' would keep the child alive. Only PM2's
 * message needs one, because Node keeps messages back while nobody listens.
 */
export function parent(out: WayOut): Trigger {
  const underPm2 = environment().pm_id !== undefined
  let byOurselves = false
  let installed = false
  let theirs: (() => void) | undefined
  let stopLooking: (() => void) | undefined
  const lost = () => {
    if (!out.idle && out.policy.onParentLost === 'exit') out.leave({ kind: 'parent' })
  }
  const disconnect = () => {
    // Node calls this too, when it reads the end of the channel and when a cluster lets go of its worker.
    byOurselves = !calledByNode()
    theirs?.call(realProcess)
  }
  const onMessage = (message: unknown) => {
    if (message === 'shutdown' && !out.idle) out.leave({ kind: 'parent' })
  }

  function watch(): void {
    const parent = stopLooking ? undefined : parentInTree()
    if (!parent) return
    stopLooking = atEachLook(() => {
      if (isThere(parent)) return
      stopLooking?.()
      lost()
    })
  }

  const lostOnBun = () => {
    if (!byOurselves) lost()
  }
  /** It doesn't ask for `process.emit`, and doesn't count who listens. */
  function listenOnBun(): void {
    realProcess.on('disconnect', lostOnBun)
    const channel = realProcess.channel as unknown as { ref(): void; unref(): void }
    if (realProcess.listenerCount('message') > 0) return
    channel.unref()
    listenOnce('newListener', (event: string) => event === 'message' && channel.ref())
  }

  return {
    install() {
      if (!out.host) return
      if (!realProcess.channel) watch()
      if (!realProcess.channel || installed) return
      installed = true
      // Node would wait for all connections first, and tell us when they have gone.
      interceptors.set('internalMessage', (next, [message]) => {
        const { cmd, act } = (message ?? {}) as { cmd?: unknown; act?: unknown }
        if (cmd === 'NODE_CLUSTER' && act === 'disconnect') lost()
        return next()
      })
      interceptors.set('disconnect', (next) => {
        if (!byOurselves) lost()
        return next()
      })
      // Once wrapped by somebody else it stays below, and passes on.
      if (realProcess.versions.bun) listenOnBun()
      if (!theirs) {
        theirs = realProcess.disconnect as () => void
        realProcess.disconnect = disconnect
      }
      if (!underPm2) return
      realProcess.on('message', onMessage)
      ;(realProcess.channel as Channel)?.unrefCounted?.()
    },
    uninstall() {
      stopLooking?.()
      stopLooking = undefined
      if (!installed) return
      installed = false
      interceptors.delete('internalMessage')
      interceptors.delete('disconnect')
      realProcess.off('disconnect', lostOnBun)
      if (theirs && realProcess.disconnect === disconnect) {
        realProcess.disconnect = theirs
        theirs = undefined
      }
      if (!underPm2) return
      ;(realProcess.channel as Channel)?.refCounted?.()
      realProcess.off('message', onMessage)
    },
  }
}

/** Without descriptors to look with it counts as alive. */
function isThere(parent: Parent): boolean {
  try {
    return isAlive(parent)
  } catch {
    return true
  }
}

/** Is the end of the channel being read, or a cluster letting go? The application may have changed how stacks are made. */
function calledByNode(): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error
  try {
    Error.stackTraceLimit = 20
    Error.prepareStackTrace = undefined as never
    return /onread .*node:internal\/child_process|readLoop .*internal\/child_process|node:internal\/cluster/.test(
      new Error().stack ?? '',
    )
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    Error.prepareStackTrace = prepareStackTrace as never
  }
}
