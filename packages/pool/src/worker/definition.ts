import type { ReasonKind } from 'exodos'
import type { Transferable } from '../shared/protocol.js'
import type { Receipts } from './receipts.js'

/** What `init` is given. */
export interface InitContext<Data = unknown> {
  /** What the pool was created with, a copy of it. */
  readonly data: Data
  /** The number of this worker in its pool: 1, 2, 3… It is never used twice. */
  readonly worker: number
  /** Cleanups written down, for when no code of this worker can run any more. */
  readonly receipt: Receipts
}

/** What a task is given beside its input. */
export interface TaskContext<Resource = unknown> {
  /** What `init` has returned. */
  readonly resource: Resource
  /** Aborted when the caller has aborted the task, when its time is over, or when the worker has to leave. */
  readonly signal: AbortSignal
  /** The number of this worker in its pool. */
  readonly worker: number
  /** Tells the caller's `onProgress` how far it is. */
  progress(value: unknown): void
  /** Hands these over with the result instead of copying them; they can't be used here afterwards. Threads only. */
  transfer(...items: Transferable[]): void
}

/**
 * Why a worker leaves. The pool's own reasons: it closes (`close`); nothing was to be done for a while (`idle`); the worker
 * has done its share (`recycle`); a task of it didn't end when it was aborted (`abort`); another worker couldn't be started
 * (`init`). All others are those of exodos, as `exit` or `signal`.
 */
export interface DisposeReason {
  readonly kind: 'close' | 'idle' | 'recycle' | 'abort' | 'init' | ReasonKind
}

/** What `dispose` is given beside the resource. */
export interface DisposeContext {
  readonly reason: DisposeReason
  /** Aborted when its time is over. */
  readonly signal: AbortSignal
  /** Milliseconds that are left of it. */
  remaining(): number
}

export type Task<Resource> = (input: never, ctx: TaskContext<Resource>) => unknown
export type Tasks<Resource> = Readonly<Record<string, Task<Resource>>>

/** What a worker is. */
export interface WorkerOptions<Data, Resource, T> {
  /** Makes what each worker owns: called once in each, before its first task. One that fails is told by `pool.ready`. */
  readonly init?: (ctx: InitContext<Data>) => Resource | PromiseLike<Resource>
  /** What it can do, by name; one at a time. */
  readonly tasks: T & Tasks<Resource>
  /** Gives back what the worker owns. Called once, if `init` has returned, whichever way the worker leaves. */
  readonly dispose?: (resource: Resource, ctx: DisposeContext) => unknown
  /** In its place where no asynchronous work can be done any more. */
  readonly disposeSync?: (resource: Resource, ctx: DisposeContext) => void
}

/** A worker, as its pool sees it. */
export interface WorkerDefinition<Data, T> {
  /** @internal Only for the compiler. */
  readonly types?: { readonly data: (data: Data) => void; readonly tasks: T }
}

/** What a file of workers exports by default; or the definition itself. */
export type DefinitionOf<M> = M extends { readonly default: infer D } ? D : M
export type DataOf<M> = DefinitionOf<M> extends WorkerDefinition<infer Data, unknown> ? Data : unknown
export type TasksOf<M> =
  DefinitionOf<M> extends WorkerDefinition<infer _Data, infer T> ? T : Record<string, (input: unknown) => unknown>
