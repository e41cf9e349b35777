import { type HookFunction, type HookOptions, makeRecord, makeRegistration, type Registration } from '../core/hook.js'
import { makeTrack } from '../core/work.js'
import { clock } from './clock.js'
import { captureContext, captureSite } from './context.js'
import { coordinator } from './shared.js'

/** What a face of the package offers for registering hooks; guests are libraries. */
export function makeFace(guest: boolean) {
  /** `face` is what the user has called. */
  const register = (face: (...args: never[]) => unknown, fn: HookFunction, options?: HookOptions): Registration => {
    const named = options?.name ?? (typeof fn === 'function' ? fn.name : '')
    const record = makeRecord(fn, options, guest, captureSite(named, face), captureContext())
    coordinator().add(record)
    return makeRegistration(record)
  }
  const onExit = (fn: HookFunction, options?: HookOptions): Registration => register(onExit, fn, options)
  const turn = () => new Promise<void>((resolve) => void clock.soon(resolve))
  const track: ReturnType<typeof makeTrack> = makeTrack((fn, options) => register(track, fn, options), turn)
  return { onExit, track }
}
