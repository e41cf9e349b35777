import { type CloseOptions, ownership } from '../core/closer.js'
import { ExodosError } from '../core/errors.js'
import { type FinalizerEnv, makeFinalize } from '../core/finalizer.js'
import {
  BY_HAND,
  type HookFunction,
  type HookOptions,
  type HookRecord,
  hookName,
  MEMBER_OPTIONS,
  makeRecord,
  makeRegistration,
  type Registration,
} from '../core/hook.js'
import { holdExit, makeScope, type Scope, type ScopeEnv, type ScopeOptions } from '../core/scope.js'
import { makeTrack, noWork, type Track } from '../core/work.js'
import { clock } from './clock.js'
import { captureContext, captureSite, currentCall } from './context.js'
import { coordinator } from './shared.js'

// What a face of the package offers, one maker each, so that bundlers leave out what a program doesn't use. Guests are libraries.

const add = (record: HookRecord) => coordinator().add(record)

/** Makes an exit wait for the end of something that has begun. */
export const hold = (record: HookRecord, result: PromiseLike<unknown>) => holdExit(add, record, result)

/** `face` is what the user has called. */
function register(guest: boolean, face: (...args: never[]) => unknown, fn: HookFunction, options?: HookOptions): Registration {
  const named = options?.name ?? (typeof fn === 'function' ? fn.name : '')
  const record = makeRecord(fn, options, guest, captureSite(named, face), captureContext())
  add(record)
  return makeRegistration(record)
}

export function makeOnExit(guest: boolean) {
  const onExit = (fn: HookFunction, options?: HookOptions): Registration => register(guest, onExit, fn, options)
  return onExit
}

export function makeTracker(guest: boolean): Track {
  const turn = () => new Promise<void>((resolve) => void clock.soon(resolve))
  const counts = () => {
    const { state } = coordinator()
    state.work ??= noWork()
    return state.work
  }
  const track: Track = makeTrack((fn, options) => register(guest, track, fn, options), turn, counts)
  return track
}

const CLOSE = { call: 'closeOnExit(resource, options)', options: [...MEMBER_OPTIONS, 'phase'] }

export function makeCloseOnExit(guest: boolean) {
  const closeOnExit = <T>(resource: T, options?: CloseOptions<T>): T => {
    const found = ownership(CLOSE.call, resource, options, CLOSE.options)
    const site = captureSite(options?.name ?? found.name, closeOnExit)
    const record = makeRecord(found.fn, found.options, guest, site, captureContext(), CLOSE, found)
    acquire(record)
    found.owned(record)
    return resource
  }
  return closeOnExit
}

/** Registers what has just been acquired. When it is too late for that it is given back at once, and the caller is told. */
function acquire(record: HookRecord): void {
  try {
    if (!coordinator().add(record).late) return
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_EXODOS_CLOSED') throw error
    // The hooks have run: nothing waits for what this begins.
    record.fn(BY_HAND)
  }
  throw new ExodosError(
    'ERR_EXODOS_CLOSED',
    `closeOnExit: the process is leaving: ${hookName(record)} will be closed by its run, or is closed already`,
  )
}

export function makeScopes(guest: boolean) {
  const env: ScopeEnv = {
    guest,
    add,
    context: captureContext,
    site: captureSite,
    isInHook: () => currentCall() !== undefined,
    isInside: (state) => currentCall()?.group.isIn(state) === true,
  }
  const scope = (options?: ScopeOptions): Scope => makeScope(env, scope, options)
  return scope
}

export function makeFinalizers(guest: boolean) {
  const env: FinalizerEnv = {
    guest,
    add,
    site: (name) => captureSite(name, finalize),
    hold,
  }
  const finalize = makeFinalize(env)
  return finalize
}
