import { type HookFunction, type HookOptions, makeRecord, makeRegistration, type Registration } from '../core/hook.js'
import { makeTrack } from '../core/work.js'
import { captureContext, captureSite } from './context.js'
import { coordinator } from './shared.js'

/** What a face of the package offers for registering hooks; guests are libraries. */
export function makeFace(guest: boolean) {
  const onExit = (fn: HookFunction, options?: HookOptions): Registration => {
    const named = options?.name ?? (typeof fn === 'function' ? fn.name : '')
    const record = makeRecord(fn, options, guest, captureSite(named, onExit), captureContext())
    coordinator().add(record)
    return makeRegistration(record)
  }
  const track = makeTrack((fn, options) => onExit(fn, options))
  return { onExit, track }
}
