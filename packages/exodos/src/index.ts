/**
 * The application's face: hooks, and a say in how the process exits.
 *
 * @packageDocumentation
 */
import type { CloseOptions } from './core/closer.js'
import { invalid } from './core/errors.js'
import type { Plan } from './core/explain.js'
import { type FinalizeOptions, type Finalizer, runFinalizers as runAll } from './core/finalizer.js'
import { type HookFunction, type HookOptions, placeOf, type Registration } from './core/hook.js'
import type { Report } from './core/report.js'
import type { Scope, ScopeOptions } from './core/scope.js'
import type { Track } from './core/work.js'
import { captureSite } from './process/context.js'
import { hold, makeTracker, openScope, register, registerFinalizer, registerResource } from './process/face.js'
import { merge, type Options } from './process/policy.js'
import { coordinator } from './process/shared.js'
import { lookAfterThreads } from './tree/threads.js'

export type { CloseOptions } from './core/closer.js'
export type { Duration } from './core/deadline.js'
export { ExodosError, type ExodosErrorCode, ExodosTypeError } from './core/errors.js'
export type { Plan, PlannedStep } from './core/explain.js'
export type { FinalizeOptions, Finalizer, FinalizerInfo } from './core/finalizer.js'
export type { After, HookContext, HookFunction, HookOptions, Phase, Reason, ReasonKind, Registration } from './core/hook.js'
export type { Report, ReportedError, ReportedHook, ReportedReason } from './core/report.js'
export type { MemberOptions, Scope, ScopeOptions } from './core/scope.js'
export type { Track, TrackOptions, TrackStats } from './core/work.js'
export type { Options } from './process/policy.js'

lookAfterThreads()

/**
 * Registers a function to be called once on the way out, newest first.
 *
 * Called on: natural end, `exit()`, `process.exit()`, uncaught errors and unhandled rejections, signals, loss of the
 * parent, `runExitHooks()`. In an 'exit' event or `process.reallyExit` only what is synchronous is called, see
 * `sync`. Not called on: SIGKILL, `process.abort()`, crashes of the runtime, power loss.
 *
 * An error in one hook never stops the others. Throws `ERR_EXODOS_INVALID_ARG` for bad input, `ERR_EXODOS_CYCLE`
 * when `after` closes a cycle, `ERR_EXODOS_CLOSED` once the hooks have run and the process is leaving.
 *
 * The counterpart of `atexit.register` (Python docs, "atexit — Exit handlers").
 */
export function onExit(fn: HookFunction, options?: HookOptions): Registration {
  return register(false, onExit, fn, options)
}

/**
 * Closes a resource on the way out, where `onExit` would call a function, and returns the resource.
 *
 * How it is closed is found by looking, in this order: `options.close`; what streams, servers, WebSockets, child
 * processes and NATS need; the methods `[Symbol.asyncDispose]`, `$disconnect`, `end` where there is `close`, too, `close`,
 * `quit`, `end`, `disconnect`, `destroy`, `terminate`, `stop`, `shutdown`, `[Symbol.dispose]`. A promise is waited for; a
 * method whose first parameter is named as callbacks are (`cb`, `callback`, `done`, …) is given one.
 * docs/closing-popular-clients.md has a table.
 *
 * A resource that is closed early by that same method is taken off. One that is registered twice is closed once.
 *
 * Works on the exit paths of `onExit`; in an 'exit' event and `process.reallyExit` only what has `[Symbol.dispose]`, or
 * a method that isn't asynchronous, is closed. Throws `ERR_EXODOS_INVALID_ARG` for what can't be closed, as `onExit`
 * for bad options. Throws `ERR_EXODOS_CLOSED` when the process is leaving and the resource's phase has begun: the run
 * closes the resource next, and whoever is starting up had better stop. Hooks of the run may still acquire.
 */
export function closeOnExit<T>(resource: T, options?: CloseOptions<T>): T {
  return registerResource(false, closeOnExit, resource, options)
}

/**
 * Makes a scope: a stack of resources and functions that are closed together, newest first, when the scope is disposed,
 * or on the way out if it is still open then. The counterpart of Python's `contextlib.AsyncExitStack`, with the verbs of
 * TC39's `AsyncDisposableStack`.
 *
 * Works on the exit paths of `onExit`. Throws `ERR_EXODOS_INVALID_ARG` for bad options, `ERR_EXODOS_CYCLE`, and
 * `ERR_EXODOS_CLOSED` when the process is leaving and `release` has begun, but for hooks of the run.
 */
export function scope(options?: ScopeOptions): Scope {
  return openScope(false, scope, options)
}

/**
 * Calls a function once: when `target` has been collected, when it is called by hand, or on the way out. For what can't
 * be closed by its user. The garbage collector may take its time: what must be given back soon belongs into a scope.
 *
 * The callback must not refer to the target, neither by `args` (refused) nor by its closure (not seen): the target
 * would never be collected. It is called without arguments but `args`, in no particular async context; an error on
 * collection is an uncaught one.
 *
 * A finalizer that is called or detached by hand is forgotten when its target is: a target that outlives very many of
 * them holds some 0.5 KB for each.
 *
 * Works on the exit paths of `onExit`, synchronous callbacks in 'exit', too. The counterpart of Python's
 * `weakref.finalize` and `multiprocessing.util.Finalize`. Throws `ERR_EXODOS_INVALID_ARG` for bad input and for what
 * could never be called.
 */
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
  return registerFinalizer(false, finalize, target, callback, options)
}

/**
 * Calls all finalizers of this process or thread now that are for an exit, too, in the order of an exit. With
 * `minPriority` those of lower priority stay for later (Python's `multiprocessing.util._run_finalizers`). An error in
 * one never stops the next; rejects with it at the end, with several as TC39's `SuppressedError`, all in its `errors`.
 */
export function runFinalizers(options?: { minPriority?: number }): Promise<void> {
  coordinator().adopt()
  return runAll(() => coordinator().records(), hold, options)
}

/**
 * Says what will be closed, in which order and why: as data, as text, and as a flowchart in Mermaid's language.
 * `EXODOS_DEBUG=order` prints it when the process leaves.
 */
export function explain(): Plan {
  coordinator().adopt()
  return coordinator().explain()
}

/**
 * Makes `drain` wait for work in progress. Returns a promise of the same outcome. `track.stats()` tells how much there is.
 *
 * At exit, `onExit: 'finish'` (default) waits within the grace period, `'abandon'` doesn't; `onAbandon` hands over what
 * isn't waited for (any longer). Drain is over when it is closed and empty: work that is tracked while drain waits, is
 * waited for, too. A promise can't be waited for in an 'exit' event or `process.reallyExit`: there a synchronous
 * `onAbandon` is called.
 */
export const track: Track = makeTracker(false)

/** Aborted when leaving begins: pass it to `fetch`, timers and streams that need not be finished. An explicit run doesn't abort it. */
export const exiting: AbortSignal = coordinator().state.exiting.signal

/**
 * Runs all hooks, then ends the process with the code; without one, with `process.exitCode` or 0.
 *
 * The promise never resolves, so that `return exit(1)` ends a function for good. Inside a hook it rejects with
 * `ERR_EXODOS_SELF_WAIT`; a code asked for there turns exit code 0 into that code.
 */
export async function exit(code?: number): Promise<never> {
  if (code !== undefined && !Number.isInteger(code)) throw invalid('exit(code)', 'an integer', code)
  await coordinator().run({ kind: 'exit', ...(code === undefined ? {} : { code }) })
  return new Promise(() => {})
}

/**
 * Runs all hooks, phase by phase, and doesn't leave: afterwards the registry is empty and a new life begins (Python's
 * `atexit._run_exitfuncs`). Inside a hook it rejects with `ERR_EXODOS_SELF_WAIT`. A call during a run returns the
 * promise of that run.
 */
export function runExitHooks(): Promise<Report> {
  return coordinator().run({ kind: 'explicit' })
}

/**
 * Sets how the process leaves; for the application alone. Setting the same again is fine, setting something else
 * throws `ERR_EXODOS_CONFIGURED` with the place of the first. Throws `ERR_EXODOS_INVALID_ARG` for bad input.
 */
export function configure(options: Options): void {
  const there = coordinator()
  const place = placeOf(captureSite('', configure)) ?? 'an unknown place'
  // `exodos/register` sets nothing: the program has not asked for anything itself.
  there.adopt(merge(there.state.policy, options, there.state.places, place), Object.keys(options).length === 0)
}
