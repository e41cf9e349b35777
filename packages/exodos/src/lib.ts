/**
 * The library's face: hooks without a say in how the process exits.
 *
 * While a process has only libraries' hooks, `process.exit` stays Node's (the synchronous hooks run), exit codes are
 * never changed, errors are left alone, and a signal ends the process only if nobody else handles it. An application
 * that uses `exodos` gives these hooks, too, the full run.
 *
 * @packageDocumentation
 */
import type { CloseOptions } from './core/closer.js'
import type { FinalizeOptions, Finalizer } from './core/finalizer.js'
import type { HookFunction, HookOptions, Registration } from './core/hook.js'
import type { Scope, ScopeOptions } from './core/scope.js'
import type { Track } from './core/work.js'
import { makeTracker, openScope, register, registerFinalizer, registerResource } from './process/face.js'
import { coordinator } from './process/shared.js'
import { lookAfterThreads } from './tree/threads.js'

export type { CloseOptions } from './core/closer.js'
export type { FinalizeOptions, Finalizer, FinalizerInfo } from './core/finalizer.js'
export type { After, HookContext, HookFunction, HookOptions, Phase, Registration } from './core/hook.js'
export type { MemberOptions, Scope, ScopeOptions } from './core/scope.js'
export type { Track, TrackOptions, TrackStats } from './core/work.js'

lookAfterThreads()

/** As `onExit` of `exodos`, for a library. */
export function onExit(fn: HookFunction, options?: HookOptions): Registration {
  return register(true, onExit, fn, options)
}

/** As `closeOnExit` of `exodos`, for a library. */
export function closeOnExit<T>(resource: T, options?: CloseOptions<T>): T {
  return registerResource(true, closeOnExit, resource, options)
}

/** As `scope` of `exodos`, for a library. */
export function scope(options?: ScopeOptions): Scope {
  return openScope(true, scope, options)
}

/** As `finalize` of `exodos`, for a library. */
export function finalize<T extends object, R>(
  target: T | null | undefined,
  callback: () => R,
  options?: Omit<FinalizeOptions<readonly []>, 'args'>,
): Finalizer<T, readonly [], R>
export function finalize<T extends object, A extends readonly unknown[], R>(
  target: T | null | undefined,
  callback: (...args: A) => R,
  options: FinalizeOptions<A> & { args: A },
): Finalizer<T, A, R>
export function finalize<T extends object, A extends readonly unknown[], R>(
  target: T | null | undefined,
  callback: (...args: A) => R,
  options?: FinalizeOptions<A>,
): Finalizer<T, A, R> {
  return registerFinalizer(true, finalize, target, callback, options)
}

/** As `track` of `exodos`, for a library. */
export const track: Track = makeTracker(true)

/** Aborted when leaving begins. */
export const exiting: AbortSignal = coordinator().state.exiting.signal
