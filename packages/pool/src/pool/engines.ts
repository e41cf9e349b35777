import { scope } from 'exodos/lib'
import type { CarrierEvents } from '../carriers/carrier.js'
import { startInline } from '../carriers/inline.js'
import { startProcess } from '../carriers/processes.js'
import { startThread } from '../carriers/threads.js'
import type { Engine, EngineEvents } from '../engine/engine.js'
import type { Settings } from '../engine/options.js'
import { Guards } from '../local/guards.js'
import { LocalEngine } from '../local/local-engine.js'

export function makeEngine(settings: Settings, events: EngineEvents & { output: CarrierEvents['output'] }): Engine {
  const { output } = events
  if (settings.engine === 'processes') {
    const guards = new Guards(settings.name)
    // What may have been started is one task at most, so that no more are run twice.
    const most = settings.onCrash === 'retry' ? 1 : undefined
    return new LocalEngine(settings, startProcess(guards.guard), events, output, most, () => guards.close())
  }
  if (settings.engine === 'threads') return new LocalEngine(settings, startThread, events, output)
  const receipts = scope({ name: `${settings.name}: receipts` })
  return new LocalEngine(settings, startInline(receipts), events, output, undefined, () => receipts.disposeAsync())
}
