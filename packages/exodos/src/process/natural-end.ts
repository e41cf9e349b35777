import { clock } from './clock.js'
import type { Trigger, WayOut } from './coordinator.js'
import { listenOnce, realProcess } from './real.js'

/**
 * The event loop has run dry. On the first 'beforeExit' one turn of the loop is asked for, and the run starts on
 * the second, so that work others start in their own 'beforeExit' listeners is done first.
 */
export function naturalEnd(out: WayOut): Trigger {
  let turned = false
  const onBeforeExit = () => {
    if (out.leaving || out.idle) return
    if (turned) out.leave({ kind: 'natural' })
    else clock.soon(() => {})
    turned = !turned
  }
  return {
    install() {
      listenOnce('beforeExit', onBeforeExit)
    },
    uninstall() {
      realProcess.off('beforeExit', onBeforeExit)
      turned = false
    },
  }
}
