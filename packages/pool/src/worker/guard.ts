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
  /** Makes it: called once in each thread or process, by its first task. One that fails is told to the task; the next one tries again. */
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
 * A thread is asked to leave by a main thread that has imported exodos before it made the pool; one that hasn't leaves
 * nothing but the receipts to be done. Processes need nothing of the kind. Throws `ERR_EXODOS_INVALID_ARG` for bad input.
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
  private prepared: ReturnType<Guarded<Resource>['prepare']> | undefined
  private made: Promise<Resource> | undefined
  private owned: { readonly resource: Resource } | undefined
  private readonly running = new Set<Promise<unknown>>()

  constructor(readonly options: GuardOptions<Resource> & { readonly name: string }) {}

  async run<Args extends readonly unknown[]>(task: (resource: Resource, ...args: Args) => unknown, args: Args): Promise<unknown> {
    this.prepared ??= this.prepare()
    const there = await this.prepared
    this.made ??= this.make(there)
    const result = this.made.then((resource) => task(resource, ...args))
    this.running.add(result)
    try {
      return await result
    } finally {
      this.running.delete(result)
      // A pool that gets a result gives the next task, or puts a thread to sleep, with all it has to do on its way out.
      if (there.exiting.aborted && !(await there.isAwaited)) await new Promise(() => {})
    }
  }

  /** Once, before there is anything to be given back. */
  private async prepare() {
    // Where the pool is, and not the worker, nothing of this is loaded.
    const { exiting, onExit, scope } = await import('exodos')
    const { name } = this.options
    const book = new Book(scope({ name: `${name}: receipts` }), () => {})
    /** Does the pool wait for results of a worker that leaves? */
    const isAwaited = new Promise<boolean>((resolve) => {
      const decide = ({ reason }: HookContext) =>
        resolve(isMainThread && process.connected !== false && PATIENT.includes(reason.kind))
      onExit(decide, { name: `${name}: leaves`, phase: 'announce', sync: true })
    })
    // What is being made when the worker leaves is waited for, and given back; so is a task where somebody waits for it.
    const finish = async ({ reason }: HookContext) => {
      await Promise.allSettled([this.made])
      while (PATIENT.includes(reason.kind) && this.running.size > 0) await Promise.allSettled(this.running)
    }
    onExit(finish, { name: `${name}: tasks in progress`, phase: 'drain', sync: false })
    return { exiting, onExit, isAwaited, book }
  }

  private async make({ onExit, book }: Awaited<ReturnType<Guarded<Resource>['prepare']>>): Promise<Resource> {
    const { name, init, timeout } = this.options
    let resource: Resource
    try {
      resource = await init({ receipt: book.receipts })
    } catch (error) {
      // The next task tries again: the pool keeps the worker.
      this.made = undefined
      throw error
    }
    this.owned = { resource }
    const give = (ctx: DisposeContext) => this.give(ctx, book)
    const sync = (ctx: DisposeContext) => this.giveSync(ctx, book)
    try {
      onExit(give, { name, sync, ...(timeout !== undefined && { timeout }) })
    } catch (error) {
      // The hooks have run.
      await give({ reason: { kind: 'exit' }, signal: new AbortController().signal, remaining: () => 0 })
      throw error
    }
    return resource
  }

  private async give(ctx: DisposeContext, book: Book): Promise<void> {
    const { dispose, disposeSync } = this.options
    const { owned } = this
    this.owned = undefined
    if (owned) await (dispose ?? disposeSync)?.(owned.resource, ctx)
    book.cancel()
  }

  private giveSync(ctx: DisposeContext, book: Book): void {
    const { dispose, disposeSync } = this.options
    const { owned } = this
    if (!owned || (dispose && !disposeSync)) return
    this.owned = undefined
    disposeSync?.(owned.resource, ctx)
    book.cancel()
  }
}
