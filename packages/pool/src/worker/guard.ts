import { checkOptions, invalid } from '../shared/errors.js'
import type { DisposeContext } from './definition.js'
import { Book, type Receipts } from './receipts.js'

/** What a worker of somebody else's pool owns. */
export interface GuardOptions<Resource> {
  /** Shown in the report. Default `worker`. */
  readonly name?: string
  /** Makes it: called once in each thread or process, at once. One that fails is told to every task. */
  readonly init: (ctx: { readonly receipt: Receipts }) => Resource | PromiseLike<Resource>
  /** Gives it back: called once, if `init` has returned, whichever way the worker leaves. */
  readonly dispose?: (resource: Resource, ctx: DisposeContext) => unknown
  /** In its place where no asynchronous work can be done any more. */
  readonly disposeSync?: (resource: Resource, ctx: DisposeContext) => void
  /** Milliseconds for `dispose`. Default: what exodos gives a hook. */
  readonly timeout?: number
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
  if (typeof init !== 'function') throw invalid('options.init', 'a function', init)
  for (const [key, fn] of Object.entries({ dispose, disposeSync }))
    if (fn !== undefined && typeof fn !== 'function') throw invalid(`options.${key}`, 'a function', fn)
  const book = new Book(() => {})
  let owned: { readonly resource: Resource } | undefined
  const over = () => book.cancel()
  const take = () => {
    const { resource } = owned as { readonly resource: Resource }
    owned = undefined
    return resource
  }
  const give = async (ctx: DisposeContext) => {
    if (owned) await (dispose ?? disposeSync)?.(take(), ctx)
    over()
  }
  const giveSync = (ctx: DisposeContext) => {
    if (!owned || (dispose && !disposeSync)) return
    disposeSync?.(take(), ctx)
    over()
  }
  const make = async () => {
    // Where the pool is, and not the worker, nothing of this is loaded.
    const { onExit } = await import('exodos')
    const making = (async () => init({ receipt: book.receipts }))()
    const settled = making.then(
      () => {},
      () => {},
    )
    // What is being made when the worker leaves is waited for, and given back.
    onExit(() => settled, { name: `${name}: init`, phase: 'drain', sync: false })
    const resource = await making
    owned = { resource }
    onExit(give, { name, sync: giveSync, ...(timeout !== undefined && { timeout }) })
    return resource
  }
  const made = make()
  // Every task is told; until there is one it is nobody's error.
  made.catch(() => {})
  const guard = (task: (resource: Resource, ...args: readonly unknown[]) => unknown) => {
    return async (...args: readonly unknown[]) => task(await made, ...args)
  }
  return guard as Guard<Resource>
}
