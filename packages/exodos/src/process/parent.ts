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
  let theirs: (() => void) | undefined
  const disconnect = () => {
    // Node calls this too, when it reads the end of the channel and when a cluster lets go of its worker.
    byOurselves = !new Error().stack?.split('\n')[2]?.includes('node:internal')
    theirs?.call(realProcess)
  }
  const onMessage = (message: unknown) => {
    if (message === 'shutdown') out.leave({ kind: 'parent' })
  }

  return {
    install() {
      if (!out.host || !realProcess.channel || theirs) return
      interceptors.set('disconnect', (next) => {
        if (!byOurselves && out.policy.onParentLost === 'exit') out.leave({ kind: 'parent' })
        return next()
      })
      theirs = realProcess.disconnect as () => void
      realProcess.disconnect = disconnect
      if (!underPm2) return
      realProcess.on('message', onMessage)
      ;(realProcess.channel as Channel)?.unrefCounted?.()
    },
    uninstall() {
      if (!theirs) return
      interceptors.delete('disconnect')
      // Wrapped by somebody, it stays and passes on.
      if (realProcess.disconnect === disconnect) {
        realProcess.disconnect = theirs
        theirs = undefined
      }
      if (!underPm2) return
      ;(realProcess.channel as Channel)?.refCounted?.()
      realProcess.off('message', onMessage)
    },
  }
}
