import { scope } from 'exodos/lib'
import type { CarrierEvents } from '../carriers/carrier.js'
import { startInline } from '../carriers/inline.js'
import { startProcess } from '../carriers/processes.js'
import { startThread } from '../carriers/threads.js'
import type { Engine, EngineEvents } from '../engine/engine.js'
import type { Settings } from '../engine/options.js'
import { Guards } from '../local/guards.js'
import { type Ahead, LocalEngine } from '../local/local-engine.js'

/** A message to a process and back takes several times as long as one to a thread. */
const NEAR: Ahead = { work: 0.6, tasks: 256 }
const FAR: Ahead = { work: 2.5, tasks: 256 }

export function makeEngine(settings: Settings, events: EngineEvents & { output: CarrierEvents['output'] }): Engine {
  const { output } = events
  if (settings.engine === 'processes') {
    const guards = new Guards(settings.name)
    // With `retry` what may have been started is one task at most, so that no more are run twice.
    const ahead = settings.onCrash === 'retry' ? { ...FAR, tasks: 1 } : FAR
    return new LocalEngine(settings, startProcess(guards.guard), events, output, ahead, () => guards.close())
  }
  if (settings.engine === 'threads') return new LocalEngine(settings, startThread, events, output, NEAR)
  const receipts = scope({ name: `${settings.name}: receipts` })
  return new LocalEngine(settings, startInline(receipts), events, output, NEAR, () => receipts.disposeAsync())
}
