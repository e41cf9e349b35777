import type { Trigger, WayOut } from './coordinator.js'
import { interceptors } from './emit.js'
import { realProcess } from './real.js'

/** Counts of listeners hold a channel open; undocumented, so called only where they are there. */
type Channel = { refCounted?(): void; unrefCounted?(): void } | undefined

/**
 * The parent is lost: the IPC channel closes (it died, or let go), or PM2 says 'shutdown'.
 *
 * Seen through `process.emit`: a listener for 'disconnect' or 'message' would keep the child alive. Only PM2's
 * message needs one, because Node keeps messages back while nobody listens.
 */
export function parent(out: WayOut): Trigger {
  const underPm2 = realProcess.env.pm_id !== undefined
  let byOurselves = false
  let installed = false
  let theirs: (() => void) | undefined
  const disconnect = () => {
    // Node calls this too, when it reads the end of the channel and when a cluster lets go of its worker.
    byOurselves = !calledByNode()
    theirs?.call(realProcess)
  }
  const onMessage = (message: unknown) => {
    if (message === 'shutdown' && !out.idle) out.leave({ kind: 'parent' })
  }

  return {
    install() {
      if (!out.host || !realProcess.channel || installed) return
      installed = true
      interceptors.set('disconnect', (next) => {
        if (!byOurselves && !out.idle && out.policy.onParentLost === 'exit') out.leave({ kind: 'parent' })
        return next()
      })
      // Once wrapped by somebody else it stays below, and passes on.
      if (!theirs) {
        theirs = realProcess.disconnect as () => void
        realProcess.disconnect = disconnect
      }
      if (!underPm2) return
      realProcess.on('message', onMessage)
      ;(realProcess.channel as Channel)?.unrefCounted?.()
    },
    uninstall() {
      if (!installed) return
      installed = false
      interceptors.delete('disconnect')
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

/** Is the end of the channel being read, or a cluster letting go? The application may have changed how stacks are made. */
function calledByNode(): boolean {
  const { stackTraceLimit, prepareStackTrace } = Error
  try {
    Error.stackTraceLimit = 20
    Error.prepareStackTrace = undefined as never
    return /onread .*node:internal\/child_process|node:internal\/cluster/.test(new Error().stack ?? '')
  } finally {
    Error.stackTraceLimit = stackTraceLimit
    Error.prepareStackTrace = prepareStackTrace as never
  }
}
