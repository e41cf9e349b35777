/**
 * The application's face: hooks, and a say in how the process exits.
 *
 * @packageDocumentation
 */
import { invalid } from './core/errors.js'
import { type HookFunction, type HookOptions, placeOf, type Registration } from './core/hook.js'
import type { Report } from './core/report.js'
import type { TrackOptions } from './core/work.js'
import { captureSite } from './process/context.js'
import { makeFace } from './process/face.js'
import { merge, type Options } from './process/policy.js'
import { coordinator } from './process/shared.js'

export type { Duration } from './core/deadline.js'
export { ExodosError, type ExodosErrorCode, ExodosTypeError } from './core/errors.js'
export type { HookContext, HookFunction, HookOptions, Phase, Reason, ReasonKind, Registration } from './core/hook.js'
export type { Report, ReportedError, ReportedHook, ReportedReason } from './core/report.js'
export type { TrackOptions } from './core/work.js'
export type { Options } from './process/policy.js'

const face = makeFace(false)

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
export const onExit: (fn: HookFunction, options?: HookOptions) => Registration = face.onExit

/**
 * Makes `drain` wait for work in progress. Returns a promise of the same outcome.
 *
 * At exit, `onExit: 'finish'` (default) waits within the grace period, `'abandon'` doesn't. A promise can't be waited
 * for in an 'exit' event or `process.reallyExit`.
 */
export const track: <T>(work: PromiseLike<T>, options?: TrackOptions) => Promise<T> = face.track

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
  there.adopt(merge(there.state.policy, options, there.state.places, place))
}
