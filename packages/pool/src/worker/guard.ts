import { isMainThread } from 'node:worker_threads'
import type { HookContext } from 'exodos'
import { type Duration, milliseconds } from '../shared/duration.js'
import { checkOptions, invalid } from '../shared/errors.js'
import type { DisposeContext } from './definition.js'
import { PATIENT } from './patient.js'
import { Book, type Receipts } from './receipts.js'

/** What a worker of somebody else's pool owns. */
export interface GuardOptions<Resource> {
  /** Shown in the report. Default `worker`. */
  readonly name?: string
  /** Makes it: called once in each thread or process, by its first task. One that fails is told to every task. */
  readonly init: (ctx: { readonly receipt: Receipts }) => Resource | PromiseLike<Resource>
  /** Gives it back: called once, if `init` has returned, whichever way the worker leaves. */
  readonly dispose?: (resource: Resource, ctx: DisposeContext) => unknown
  /** In its place where no asynchronous work can be done any more. */
  readonly disposeSync?: (resource: Resource, ctx: DisposeContext) => void
  /** For `dispose`. Default: what exodos gives a hook. */
  readonly timeout?: Duration
}

/** Makes a task of a function that wants what the worker owns. */
export type Guard<Resource> = <Args extends readonly unknown[], Result>(
  task: (resource: Resource, ...args: Args) => Result,
) => (...args: Args) => Promise<Awaited<Result>>

/**
 * Gives a worker of piscina, tinypool, jest-worker, BullMQ or whatever else starts threads and processes what those of
 * `createPool` have: something that is made once in each, and given back once on every way out.
 *
 * A thread is asked to leave by a main thread that has loaded exodos before: with `--import exodos/register`, or a hook of
 * its own. Throws `ERR_EXODOS_INVALID_ARG` for bad input.
 */
export function guardWorker<Resource>(options: GuardOptions<Resource>): Guard<Resource> {
  checkOptions('guardWorker(options)', options, ['name', 'init', 'dispose', 'disposeSync', 'timeout'])
  const { name = 'worker', init, dispose, disposeSync, timeout } = options
  if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
  if (timeout !== undefined) milliseconds(timeout, 'options.timeout')
  if (typeof init !== 'function') throw invalid('options.init', 'a function', init)
  for (const [key, fn] of Object.entries({ dispose, disposeSync }))
    if (fn !== undefined && typeof fn !== 'function') throw invalid(`options.${key}`, 'a function', fn)
  const guarded = new Guarded({ name, init, dispose, disposeSync, timeout } as Guarded<Resource>['options'])
  return (task) =>
    (...args) =>
      guarded.run(task, args) as Promise<never>
}

/** What the worker owns, from its first task to its way out. */
class Guarded<Resource> {
  private made: Promise<Resource> | undefined
  private owned: { readonly resource: Resource } | undefined
  private book: Book | undefined
  private exiting: AbortSignal | undefined
  private readonly running = new Set<Promise<unknown>>()

  constructor(readonly options: GuardOptions<Resource> & { readonly name: string }) {}

  async run<Args extends readonly unknown[]>(task: (resource: Resource, ...args: Args) => unknown, args: Args): Promise<unknown> {
    this.made ??= this.make()
    const result = this.made.then((resource) => task(resource, ...args))
    this.running.add(result)
    try {
      return await result
    } finally {
      this.running.delete(result)
      // A pool puts a thread without tasks to sleep (`Atomics.wait`), with all that it still has to do on its way out.
      if (this.exiting?.aborted && (!isMainThread || process.connected === false)) await new Promise(() => {})
    }
  }

  private async make(): Promise<Resource> {
    // Where the pool is, and not the worker, nothing of this is loaded.
    const { exiting, onExit, scope } = await import('exodos')
    const { name, init, timeout } = this.options
    this.exiting = exiting
    const book = new Book(scope({ name: `${name}: receipts` }), () => {})
    this.book = book
    const making = (async () => init({ receipt: book.receipts }))()
    // What is being made when the worker leaves is waited for, and given back; so is a task where somebody waits for it.
    const finish = async ({ reason }: HookContext) => {
      await Promise.allSettled([making])
      if (PATIENT.includes(reason.kind)) await Promise.allSettled(this.running)
    }
    onExit(finish, { name: `${name}: tasks in progress`, phase: 'drain', sync: false })
    const resource = await making
    this.owned = { resource }
    onExit((ctx) => this.give(ctx), { name, sync: (ctx) => this.giveSync(ctx), ...(timeout !== undefined && { timeout }) })
    return resource
  }

  private async give(ctx: DisposeContext): Promise<void> {
    const { dispose, disposeSync } = this.options
    const { owned } = this
    this.owned = undefined
    if (owned) await (dispose ?? disposeSync)?.(owned.resource, ctx)
    this.book?.cancel()
  }

  private giveSync(ctx: DisposeContext): void {
    const { dispose, disposeSync } = this.options
    const { owned } = this
    if (!owned || (dispose && !disposeSync)) return
    this.owned = undefined
    disposeSync?.(owned.resource, ctx)
    this.book?.cancel()
  }
}
