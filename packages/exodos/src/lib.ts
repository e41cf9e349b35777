/**
 * The library's face: hooks without a say in how the process exits.
 *
 * While a process has only libraries' hooks, `process.exit` stays Node's (the synchronous hooks run), exit codes are
 * never changed, errors are left alone, and a signal ends the process only if nobody else handles it. An application
 * that uses `exodos` gives these hooks, too, the full run.
 *
 * @packageDocumentation
 */
import type { HookFunction, HookOptions, Registration } from './core/hook.js'
import type { TrackOptions } from './core/work.js'
import { makeFace } from './process/face.js'
import { coordinator } from './process/shared.js'

export type { HookContext, HookFunction, HookOptions, Phase, Registration } from './core/hook.js'
export type { TrackOptions } from './core/work.js'

const face = makeFace(true)

/** As `onExit` of `exodos`, for a library. */
export const onExit: (fn: HookFunction, options?: HookOptions) => Registration = face.onExit

/** As `track` of `exodos`, for a library. */
export const track: <T>(work: PromiseLike<T>, options?: TrackOptions) => Promise<T> = face.track

/** Aborted when leaving begins. */
export const exiting: AbortSignal = coordinator().state.exiting.signal
