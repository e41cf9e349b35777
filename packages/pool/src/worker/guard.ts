import { isMainThread } from 'node:worker_threads'
import type { HookContext } from 'exodos'
import { checkOptions, invalid } from '../shared/errors.js'
import type { DisposeContext } from './definition.js'
import { PATIENT } from './patient.js'
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

type AnyTask = (resource: never, ...args: readonly unknown[]) => unknown

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
  let book: Book | undefined
  let isLeaving = false
  const running = new Set<Promise<unknown>>()
  let owned: { readonly resource: Resource } | undefined
  const over = () => book?.cancel()
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
    const { onExit, scope } = await import('exodos')
    const written = new Book(scope({ name: `${name}: receipts` }), () => {})
    book = written
    const making = (async () => init({ receipt: written.receipts }))()
    const settled = making.then(
      () => {},
      () => {},
    )
    const announce = () => {
      isLeaving = true
    }
    onExit(announce, { name: `${name}: leaves`, phase: 'announce', sync: true })
    // What is being made when the worker leaves is waited for, and given back; so is a task where somebody waits for it.
    const drain = async ({ reason }: HookContext) => {
      await settled
      if (PATIENT.includes(reason.kind)) await Promise.allSettled(running)
    }
    onExit(drain, { name: `${name}: init and tasks`, phase: 'drain', sync: false })
    const resource = await making
    owned = { resource }
    onExit(give, { name, sync: giveSync, ...(timeout !== undefined && { timeout }) })
    return resource
  }
  const made = make()
  // Every task is told; until there is one it is nobody's error.
  made.catch(() => {})
  const run = async (task: AnyTask, args: readonly unknown[]) => {
    try {
      return await task((await made) as never, ...args)
    } finally {
      // A pool puts a thread that has done its task to sleep, with all that it still has to do on its way out.
      if (isLeaving && !isMainThread) await new Promise(() => {})
    }
  }
  const guard =
    (task: AnyTask) =>
    (...args: readonly unknown[]) => {
      const result = run(task, args)
      running.add(result)
      const over = () => running.delete(result)
      result.then(over, over)
      return result
    }
  return guard as Guard<Resource>
}
