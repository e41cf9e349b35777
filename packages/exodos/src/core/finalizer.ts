import { suppressing } from './close.js'
import { checkOptions, ExodosTypeError, invalid } from './errors.js'
import { type HookRecord, makeRecord } from './hook.js'
import { isThenable } from './work.js'

export interface FinalizeOptions<A extends readonly unknown[]> {
  /** What the callback is called with. Must not hold the target: it would never be collected. */
  args?: A
  /** An integer, higher first, as in `onExit`. Default 0. */
  priority?: number
  /** Called on the way out if it hasn't been called before. Default true. */
  atExit?: boolean
  /** Shown in the report. Default: the callback's name. */
  name?: string
}

/** What is to be done for a target, once. */
export interface FinalizerInfo<T, A extends readonly unknown[], R> {
  target: T
  callback: (...args: A) => R
  args: A
}

type AnyFunction = (...args: never[]) => unknown

/** What a finalizer needs of the thread it is made in. */
export interface FinalizerEnv {
  readonly guest: boolean
  add(record: HookRecord): void
  site(name: string): HookRecord['site']
  /** Makes an exit wait for what a callback has begun. */
  hold(record: HookRecord, result: PromiseLike<unknown>): void
}

/**
 * All finalizers whose target may still be collected. It holds them strongly: who keeps neither the target nor the
 * finalizer gets its call all the same.
 */
const collected = new FinalizationRegistry<Finalizer<object, readonly unknown[], unknown>>((finalizer) => finalizer.collected())

/** Calls a function once: when its target is collected, when it is called by hand, or on the way out. */
export class Finalizer<T extends object, A extends readonly unknown[], R> {
  #env: FinalizerEnv
  #target: WeakRef<T> | undefined
  #callback: ((...args: A) => R) | undefined
  #args: A
  #record: HookRecord | undefined

  /** @internal */
  constructor(env: FinalizerEnv, target: T | null | undefined, callback: (...args: A) => R, args: A) {
    this.#env = env
    this.#callback = callback
    this.#args = args
    if (target) {
      this.#target = new WeakRef(target)
      collected.register(target, this as unknown as Finalizer<object, readonly unknown[], unknown>, this)
    }
  }

  /** @internal */
  atExit(record: HookRecord): void {
    this.#record = record
  }

  /** Not called and not detached yet. */
  get alive(): boolean {
    return this.#callback !== undefined
  }

  /** Calls the callback and returns its result; undefined if it has been called or detached before. An error in it is thrown. */
  call(): R | undefined {
    return this.#take()?.()
  }

  /** What is to be done, without doing it; undefined when it is not alive. `target` is undefined for a finalizer without one. */
  peek(): FinalizerInfo<T | undefined, A, R> | undefined {
    if (!this.#callback) return undefined
    return { target: this.#target?.deref(), callback: this.#callback, args: this.#args }
  }

  /** The callback is never called. Returns what it would have been called with; undefined when it is not alive. */
  detach(): FinalizerInfo<T | undefined, A, R> | undefined {
    const info = this.peek()
    this.#take()
    return info
  }

  /** @internal Its target is gone. An error nobody handles is an uncaught one; it doesn't keep others from being called. */
  collected(): void {
    const record = this.#record ?? makeRecord(ignore, { name: 'finalizer' }, this.#env.guest, undefined, undefined)
    try {
      const result = this.call()
      if (isThenable(result)) this.#env.hold(record, result)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }

  /** The call, for whoever is first. */
  #take(): (() => R) | undefined {
    const callback = this.#callback
    if (!callback) return undefined
    const args = this.#args
    this.#callback = undefined
    this.#args = [] as unknown as A
    this.#record?.place?.remove()
    if (this.#target) collected.unregister(this)
    return () => callback(...args)
  }
}

const ignore = () => {}

/** Makes `finalize` for a thread. */
export function makeFinalize(env: FinalizerEnv) {
  return <T extends object, A extends readonly unknown[] = [], R = unknown>(
    target: T | null | undefined,
    callback: (...args: A) => R,
    options: FinalizeOptions<A> = {},
  ): Finalizer<T, A, R> => {
    checkOptions('finalize(target, callback, options)', options, ['args', 'priority', 'atExit', 'name'])
    const { args = [] as unknown as A, priority = 0, atExit = true } = options
    const hasTarget = target !== null && target !== undefined
    if (hasTarget && typeof target !== 'object' && typeof target !== 'function')
      throw invalid('finalize(target)', 'an object, a function, or null for at exit alone', target)
    if (typeof callback !== 'function') throw invalid('finalize(target, callback)', 'a function', callback)
    if (!Array.isArray(args as unknown)) throw invalid('options.args', 'an array', args)
    if (!Number.isInteger(priority)) throw invalid('options.priority', 'an integer', priority)
    if (typeof atExit !== 'boolean') throw invalid('options.atExit', 'a boolean', atExit)
    if (!hasTarget && !atExit)
      throw new ExodosTypeError('finalize(target): expected a target or atExit: true, got neither: it could never be called')
    if (hasTarget && (args.includes(target) || (callback as unknown) === target))
      throw new ExodosTypeError('options.args: expected values without the target, got the target: it would never be collected')
    const name = options.name ?? callback.name
    const finalizer = new Finalizer(env, target, callback, args)
    if (!atExit) return finalizer
    const record: HookRecord = {
      ...makeRecord(() => finalizer.call(), { name, priority }, env.guest, env.site(name), undefined),
      finalizer: true,
    }
    finalizer.atExit(record)
    env.add(record)
    return finalizer
  }
}

/**
 * Calls the finalizers of all that is registered, in the order of an exit, one after another. Those made meanwhile
 * come next. `records` lists what is registered, in order.
 */
export async function runFinalizers(records: () => Iterable<HookRecord>, options: { minPriority?: number } = {}): Promise<void> {
  checkOptions('runFinalizers(options)', options, ['minPriority'])
  const { minPriority = Number.NEGATIVE_INFINITY } = options
  if (typeof minPriority !== 'number' || Number.isNaN(minPriority)) throw invalid('options.minPriority', 'a number', minPriority)
  const errors: unknown[] = []
  for (;;) {
    const record = first(records(), (candidate) => candidate.finalizer === true && candidate.priority >= minPriority)
    if (!record) break
    record.place?.remove()
    try {
      const result = (record.fn as AnyFunction)()
      if (isThenable(result)) await result
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw suppressing(errors)
}

function first<T>(items: Iterable<T>, matches: (item: T) => boolean): T | undefined {
  for (const item of items) if (matches(item)) return item
  return undefined
}
