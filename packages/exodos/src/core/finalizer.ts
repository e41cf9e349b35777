import { suppressing } from './close.js'
import { checkOptions, ExodosTypeError, invalid } from './errors.js'
import { leaveUnhandled } from './hold.js'
import { type HookRecord, isAsyncFunction, ownName, type Place } from './hook.js'
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
  /** Makes an exit wait for what a callback has begun. */
  hold(record: HookRecord, result: PromiseLike<unknown>): void
}

/**
 * A finalizer as its hook's record. There may be millions, and to be walked over by the collector is most of what each
 * costs: so it is one small object, and what is the same for all of them is in its class.
 */
class Entry implements HookRecord {
  place: Place | undefined = undefined

  constructor(
    readonly env: FinalizerEnv,
    readonly name: string,
    readonly priority: number,
    readonly site: HookRecord['site'],
    /** Undefined once it has been called or detached. */
    public callback: AnyFunction | undefined,
    public args: readonly unknown[],
    readonly target: WeakRef<object> | undefined,
  ) {}

  get phase() {
    return 'release' as const
  }
  get timeout() {
    return undefined
  }
  get after() {
    return undefined
  }
  get state() {
    return undefined
  }
  get replace() {
    return false
  }
  get context() {
    return undefined
  }
  get finalizer() {
    return true
  }
  get guest(): boolean {
    return this.env.guest
  }

  get fn(): () => unknown {
    return () => this.take()?.()
  }

  get sync(): false | undefined {
    return isAsyncFunction(this.callback) ? false : undefined
  }

  /** The call, for whoever is first. */
  take(): (() => unknown) | undefined {
    const { callback, args } = this
    if (!callback) return undefined
    this.callback = undefined
    this.args = NO_ARGS
    this.place?.remove()
    return () => (callback as (...args: readonly unknown[]) => unknown)(...args)
  }

  /** The target is gone. An error nobody handles is an uncaught one; it doesn't keep others from being called. */
  collected(): void {
    try {
      const result = this.take()?.()
      if (!isThenable(result)) return
      this.env.hold(this, result)
      leaveUnhandled(result)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }
}

const NO_ARGS: readonly never[] = []

/**
 * All finalizers whose target may still be collected. It holds them strongly: who keeps neither the target nor the
 * finalizer gets its call all the same. Without tokens for taking one off, which cost as much again: what was called by
 * hand is found dead.
 */
let targets: FinalizationRegistry<Entry> | undefined

function registry(): FinalizationRegistry<Entry> {
  targets ??= new FinalizationRegistry((entry) => entry.collected())
  return targets
}

/** Calls a function once: when its target is collected, when it is called by hand, or on the way out. */
export class Finalizer<T extends object, A extends readonly unknown[], R> {
  readonly #entry: Entry

  /** @internal */
  constructor(entry: Entry) {
    this.#entry = entry
  }

  /** Not called and not detached yet. */
  get alive(): boolean {
    return this.#entry.callback !== undefined
  }

  /** Calls the callback and returns its result; undefined if it has been called or detached before. An error in it is thrown. */
  call(): R | undefined {
    return this.#entry.take()?.() as R | undefined
  }

  /** What is to be done, without doing it; undefined when it is not alive. `target` is undefined for a finalizer without one. */
  peek(): FinalizerInfo<T | undefined, A, R> | undefined {
    const { callback, args, target } = this.#entry
    if (!callback) return undefined
    return { target: target?.deref() as T | undefined, callback: callback as (...args: A) => R, args: args as A }
  }

  /** The callback is never called. Returns what it would have been called with; undefined when it is not alive. */
  detach(): FinalizerInfo<T | undefined, A, R> | undefined {
    const info = this.peek()
    this.#entry.take()
    return info
  }
}

const OPTIONS = ['args', 'priority', 'atExit', 'name']

export function makeFinalizer<T extends object, A extends readonly unknown[], R>(
  env: FinalizerEnv,
  site: HookRecord['site'],
  target: T | null | undefined,
  callback: (...args: A) => R,
  options: FinalizeOptions<A> = {},
): Finalizer<T, A, R> {
  checkOptions('finalize(target, callback, options)', options, OPTIONS)
  const { args = NO_ARGS as unknown as A, priority = 0, atExit = true, name = ownName(callback) } = options
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
  if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
  const entry = new Entry(env, name, priority, site, callback, args, hasTarget ? new WeakRef(target) : undefined)
  if (atExit) env.add(entry)
  if (hasTarget) registry().register(target, entry)
  return new Finalizer(entry)
}

/**
 * Calls the finalizers of all that is registered, in the order of an exit, one after another. Those made meanwhile
 * come next. `records` lists what is registered, in order; `hold` makes an exit wait.
 */
export async function runFinalizers(
  records: () => Iterable<HookRecord>,
  hold: (record: HookRecord, result: PromiseLike<unknown>) => void,
  options: { minPriority?: number } = {},
): Promise<void> {
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
      if (!isThenable(result)) continue
      hold(record, result)
      await result
    } catch (error) {
      errors.push(error)
    }
  }
  if (errors.length > 0) throw suppressing(errors, 'in finalizers')
}

function first<T>(items: Iterable<T>, matches: (item: T) => boolean): T | undefined {
  for (const item of items) if (matches(item)) return item
  return undefined
}
