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
import { makeCloseOnExit, makeFinalizers, makeOnExit, makeScopes, makeTracker } from './process/face.js'
import { coordinator } from './process/shared.js'

export type { CloseOptions } from './core/closer.js'
export type { FinalizeOptions, Finalizer, FinalizerInfo } from './core/finalizer.js'
export type { After, HookContext, HookFunction, HookOptions, Phase, Registration } from './core/hook.js'
export type { MemberOptions, Scope, ScopeOptions } from './core/scope.js'
export type { Track, TrackOptions, TrackStats } from './core/work.js'

/** As `onExit` of `exodos`, for a library. */
export const onExit: (fn: HookFunction, options?: HookOptions) => Registration = /* @__PURE__ */ makeOnExit(true)

/** As `closeOnExit` of `exodos`, for a library. */
export const closeOnExit: <T>(resource: T, options?: CloseOptions<T>) => T = /* @__PURE__ */ makeCloseOnExit(true)

/** As `scope` of `exodos`, for a library. */
export const scope: (options?: ScopeOptions) => Scope = /* @__PURE__ */ makeScopes(true)

/** As `finalize` of `exodos`, for a library. */
export const finalize: <T extends object, A extends readonly unknown[] = [], R = unknown>(
  target: T | null | undefined,
  callback: (...args: A) => R,
  options?: FinalizeOptions<A>,
) => Finalizer<T, A, R> = /* @__PURE__ */ makeFinalizers(true)

/** As `track` of `exodos`, for a library. */
export const track: Track = /* @__PURE__ */ makeTracker(true)

/** Aborted when leaving begins. */
export const exiting: AbortSignal = coordinator().state.exiting.signal
