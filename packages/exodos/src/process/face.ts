import { type CloseOptions, ownership } from '../core/closer.js'
import { ExodosError } from '../core/errors.js'
import { type FinalizeOptions, type Finalizer, type FinalizerEnv, makeFinalizer } from '../core/finalizer.js'
import { holdExit } from '../core/hold.js'
import {
  BY_HAND,
  type HookFunction,
  type HookOptions,
  type HookRecord,
  hookName,
  MEMBER_OPTIONS,
  makeRecord,
  makeRegistration,
  ownName,
  type Registration,
} from '../core/hook.js'
import { makeScope, type Scope, type ScopeEnv, type ScopeOptions } from '../core/scope.js'
import { makeTrack, noWork, type Track } from '../core/work.js'
import { clock } from './clock.js'
import { captureContext, captureSite } from './context.js'
import { coordinator } from './shared.js'

// What a face of the package offers. Guests are libraries; `face` is what the user has called. Each face is a function
// declaration that calls one of these: bundlers leave out what a program doesn't use, which they don't do with the result of a call.

type Face = (...args: never[]) => unknown

const add = (record: HookRecord) => coordinator().add(record)

/** Makes an exit wait for the end of something that has begun. */
export const hold = (record: HookRecord, result: PromiseLike<unknown>) => holdExit(add, record, result)

export function register(guest: boolean, face: Face, fn: HookFunction, options?: HookOptions, brief = false): Registration {
  const named = options?.name ?? (typeof fn === 'function' ? fn.name : '')
  const record = makeRecord(fn, options, guest, captureSite(named, face), captureContext())
  record.brief = brief
  add(record)
  return makeRegistration(record)
}

export function makeTracker(guest: boolean): Track {
  const turn = () => new Promise<void>((resolve) => void clock.soon(resolve))
  const counts = () => {
    const { state } = coordinator()
    state.work ??= noWork()
    return state.work
  }
  const track: Track = makeTrack((fn, options) => register(guest, track, fn, options, true), turn, counts)
  return track
}

const CLOSE = { call: 'closeOnExit(resource, options)', options: [...MEMBER_OPTIONS, 'phase'] }

export function registerResource<T>(guest: boolean, face: Face, resource: T, options?: CloseOptions<T>): T {
  const found = ownership(CLOSE.call, resource, options, CLOSE.options)
  const site = captureSite(options?.name ?? found.name, face)
  const record = makeRecord(found.fn, found.options, guest, site, captureContext(), CLOSE, found)
  record.brief = true
  acquire(record)
  found.owned(record)
  return resource
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
  const message = `closeOnExit: the process is leaving: ${hookName(record)} will be closed by its run, or is closed already`
  throw new ExodosError('ERR_EXODOS_CLOSED', message)
}

export function openScope(guest: boolean, face: Face, options?: ScopeOptions): Scope {
  return makeScope(guest ? GUEST : HOST, face, options)
}

const HOST: ScopeEnv = {
  guest: false,
  add,
  context: captureContext,
  site: captureSite,
  isInHook: () => coordinator().call !== undefined,
  isInside: (state) => coordinator().call?.group.isIn(state) === true,
}
const GUEST: ScopeEnv = { ...HOST, guest: true }

export function registerFinalizer<T extends object, A extends readonly unknown[], R>(
  guest: boolean,
  face: Face,
  target: T | null | undefined,
  callback: (...args: A) => R,
  options?: FinalizeOptions<A>,
): Finalizer<T, A, R> {
  const env = guest ? FINALIZER_GUEST : FINALIZER_HOST
  return makeFinalizer(env, captureSite(options?.name ?? ownName(callback), face), target, callback, options)
}

const FINALIZER_HOST: FinalizerEnv = { guest: false, add, hold }
const FINALIZER_GUEST: FinalizerEnv = { guest: true, add, hold }
