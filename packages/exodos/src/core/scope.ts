/// <reference lib="esnext.disposable" preserve="true" />
import { close, isCallingIn, suppressing } from './close.js'
import { type CloseOptions, ownership, read } from './closer.js'
import type { Duration } from './deadline.js'
import { checkOptions, ExodosError, ExodosTypeError, invalid } from './errors.js'
import { holdExit, leaveUnhandled } from './hold.js'
import {
  type After,
  BY_HAND,
  type HookContext,
  type HookFunction,
  type HookOptions,
  type HookRecord,
  hookName,
  isAsyncFunction,
  MEMBER_OPTIONS,
  makeRecord,
  makeRegistration,
  ownName,
  type Place,
  RECORD,
  type Registration,
} from './hook.js'
import type { Hook } from './order.js'
import { ScopeState } from './scope-state.js'
import { isThenable } from './work.js'

export interface ScopeOptions {
  /** Shown in reports, and what `after` of others refers to. Default `scope`. */
  name?: string
  /** Closes the members at the same time; `after` between them still holds. Default false: newest first, one after another. */
  parallel?: boolean
  /** The most time that all its members together may take on the way out. Default: what is left for each is what a hook of its own would have. */
  timeout?: Duration
  /** As in `onExit`: where the scope stands among its siblings. */
  priority?: number
  /** As in `onExit`: what the scope is closed after. */
  after?: After | readonly After[]
}

/** What a member of a scope may say of itself: as in `onExit`, without a phase. */
export type MemberOptions = Omit<HookOptions, 'phase' | 'replace'>

/** What a scope needs of the thread it is made in. */
export interface ScopeEnv {
  readonly guest: boolean
  /** Registers a record with the root scope. */
  add(record: HookRecord): Place
  context(): HookRecord['context']
  site(name: string, face: (...args: never[]) => unknown): HookRecord['site']
  /** Is the code that is running part of a hook? */
  isInHook(): boolean
  /** Is the code that is running part of closing this scope? */
  isInside(scope: ScopeState): boolean
}

const ignore = () => {}
const WHILE_CLOSING = 'while a scope was closed'
const throwAll = (errors: readonly unknown[]) => {
  if (errors.length > 0) throw suppressing(errors, WHILE_CLOSING)
}
const FACE = { call: 'scope(options)', options: ['name', 'parallel', 'timeout', 'priority', 'after'] }
const USE = { call: 'use(value, options)', options: MEMBER_OPTIONS, method: 'use' as 'use' | 'adopt' | 'defer' }
const ADOPT: typeof USE = { call: 'adopt(value, onDispose, options)', options: MEMBER_OPTIONS, method: 'adopt' }
const DEFER: typeof USE = { call: 'defer(fn, options)', options: MEMBER_OPTIONS, method: 'defer' }

/** Makes a scope inside of another one, or inside the root scope. `face` is what the user has called. */
export function makeScope(
  env: ScopeEnv,
  face: (...args: never[]) => unknown,
  options: ScopeOptions = {},
  outer?: ScopeState,
): Scope {
  checkOptions(FACE.call, options, FACE.options)
  const { parallel = false, name = 'scope', timeout, priority, after } = options
  if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
  if (typeof parallel !== 'boolean') throw invalid('options.parallel', 'a boolean', parallel)
  const own = timeout === undefined && priority === undefined && after === undefined ? undefined : { timeout, priority, after }
  const record = makeRecord(
    () => close(state).then(throwAll),
    own as HookOptions | undefined,
    env.guest,
    env.site(name, face),
    env.context(),
    FACE,
    { name },
  )
  const state = new ScopeState(parallel, record)
  Object.assign(record, { scope: state, brief: true })
  if (outer) outer.add(record)
  else if (env.add(record).late) {
    record.place?.remove()
    throw new ExodosError('ERR_EXODOS_CLOSED', `the process is leaving: scope ${name} would be closed at once`)
  }
  return wrap(env, state)
}

/**
 * A stack of resources and functions, closed newest first, one after another, exactly once: by `disposeAsync()`, at the
 * end of an `await using` block, or, if it is still open then, on the way out of the process, where it stands in its parent.
 *
 * TC39's `AsyncDisposableStack` with nesting, names, order and limits, on every supported Node. Members that come while
 * it is closing are closed next. What is given to it when it is closed is cleaned up at once, and the call throws
 * `ERR_EXODOS_CLOSED`. A closing by hand waits for each member as long as it takes; on the way out each has its limit.
 */
export class Scope implements AsyncDisposable {
  readonly #env: ScopeEnv
  readonly #state: ScopeState
  #moved = false

  /** @internal */
  constructor(env: ScopeEnv, state: ScopeState) {
    this.#env = env
    this.#state = state
  }

  get name(): string {
    return this.#state.record.name
  }

  /** Closing has begun, or what it held has moved. */
  get disposed(): boolean {
    return this.#moved || this.#state.status !== 'open'
  }

  /** @internal `RECORD`, what `after` of others leads to. Written out: a computed name keeps bundlers from leaving the class out. */
  get 'exodos.record'(): HookRecord {
    return this.#state.record
  }

  /**
   * Owns a resource and returns it; how it is closed is found as `closeOnExit` finds it. A scope moves in from where it
   * stood. `null` and `undefined` are returned as they are. Throws `ERR_EXODOS_INVALID_ARG`, and owns nothing, for what
   * can't be closed.
   */
  use<T>(value: T, options?: Omit<CloseOptions<NonNullable<T>>, 'phase'>): T {
    if (value === null || value === undefined) return value
    const inner = read(value, RECORD) as HookRecord | undefined
    if (inner?.scope) {
      if (!(value as unknown as Scope).disposed) this.#moveIn(inner)
      return value
    }
    const found = ownership(USE.call, value, options, MEMBER_OPTIONS)
    found.owned(this.#push(found.fn, found.options, USE, found), true)
    return value
  }

  /** Owns a value by a function that closes it, and returns the value. */
  adopt<T>(value: T, onDispose: (value: T, ctx: HookContext) => unknown, options?: MemberOptions): T {
    if (typeof onDispose !== 'function') throw invalid('adopt(value, onDispose)', 'a function', onDispose)
    const defaults = { name: ownName(onDispose), sync: isAsyncFunction(onDispose) ? false : undefined }
    this.#push((ctx) => onDispose(value, ctx), options, ADOPT, defaults)
    return value
  }

  /** Calls a function when the scope is closed. */
  defer(fn: HookFunction, options?: MemberOptions): Registration {
    return makeRegistration(this.#push(fn, options, DEFER))
  }

  /** Makes a scope in this one. */
  scope(options?: ScopeOptions): Scope {
    if (this.#isClosed || this.#isTaken) throw this.#refusal('no scope can be made in it')
    return makeScope(this.#env, this.scope, options, this.#state)
  }

  /**
   * Hands all members to a new scope, which takes this one's place; the end of this one then does nothing. Throws
   * `ERR_EXODOS_CLOSED` when closing has begun.
   */
  move(): Scope {
    if (this.disposed) throw this.#refusal('nothing is left to move')
    this.#moved = true
    return wrap(this.#env, this.#state)
  }

  /**
   * Calls `body` with the scope, closes the scope whatever happens, and returns what `body` returned: `await using` for
   * where the syntax is missing. When closing fails after `body` did, the error has `body`'s as `cause`.
   */
  async using<R>(body: (scope: this) => R | PromiseLike<R>): Promise<R> {
    if (typeof body !== 'function') throw invalid('using(body)', 'a function', body)
    let result: R
    try {
      result = await body(this)
    } catch (error) {
      throw suppressing(this.#moved ? [] : await close(this.#state), WHILE_CLOSING, { error })
    }
    await this.disposeAsync()
    return result
  }

  /**
   * Closes the members. A second call does nothing, and resolves when the first has finished. Rejects with a member's
   * error; with several as TC39's `SuppressedError`, all of them in its `errors`. Rejects with `ERR_EXODOS_SELF_WAIT`
   * when a member waits for its own scope; outside of a run only where it asks before its first `await`.
   */
  disposeAsync(): Promise<void> {
    const state = this.#state
    if (this.#moved || state.status === 'closed') return Promise.resolve()
    const waitsForItself = isCallingIn(state) || (state.status === 'closing' && this.#env.isInside(state))
    const closed = close(state).then(throwAll)
    if (!waitsForItself) return closed
    const message = `scope ${this.name}: a member waits for the scope that it is part of`
    const refused = Promise.reject(new ExodosError('ERR_EXODOS_SELF_WAIT', message))
    // Only who waits for it is to hear of it.
    refused.catch(ignore)
    return refused
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.disposeAsync()
  }

  get #isClosed(): boolean {
    return this.#moved || this.#state.status === 'closed'
  }

  #push(
    fn: HookFunction,
    options: HookOptions | undefined,
    face: typeof DEFER,
    defaults?: { name: string; sync?: HookOptions['sync'] | undefined },
  ): HookRecord {
    const { guest } = this.#env
    const name = options?.name ?? defaults?.name ?? (typeof fn === 'function' ? fn.name : '')
    const site = this.#env.site(name, this[face.method])
    const record = makeRecord(fn, options, guest, site, this.#state.record.context, face, defaults)
    if (this.#isClosed) this.#cleanUpNow(record)
    this.#state.add(record)
    if (this.#isTaken) throw this.#refusal(`${hookName(record)} is closed with it`)
    return record
  }

  /** A run is closing it, so it is of no use any more but for hooks of that run. */
  get #isTaken(): boolean {
    return this.#state.isTaken && !this.#env.isInHook()
  }

  /** What came too late is not lost: it is cleaned up, an exit waits for that, and the caller is told. */
  #cleanUpNow(record: HookRecord): never {
    const refusal = this.#refusal(`${hookName(record)} was cleaned up at once`)
    try {
      const result = record.fn(BY_HAND)
      if (isThenable(result)) {
        holdExit(this.#env.add, record, result)
        leaveUnhandled(result)
      }
    } catch (error) {
      refusal.cause = error
    }
    throw refusal
  }

  #refusal(consequence: string): ExodosError {
    return new ExodosError(
      'ERR_EXODOS_CLOSED',
      `scope ${this.name} ${this.#moved ? 'has moved' : this.#isClosed ? 'is closed' : 'is being closed on the way out'}: ${consequence}`,
    )
  }

  #moveIn(inner: HookRecord): void {
    for (let at: HookRecord | undefined = this.#state.record; at; at = (at.place as Hook | undefined)?.stack?.owner)
      if (at === inner) throw new ExodosTypeError('use(scope): expected a scope that this one is not in, got one that holds it')
    if ((inner.place as Hook | undefined)?.stack === this.#state.members) return
    if (this.#isClosed) {
      // It stays where it stood until it is closed: a run may have to take over.
      leaveUnhandled(close(inner.scope as ScopeState).then(throwAll))
      throw this.#refusal(`scope ${inner.name} is being closed`)
    }
    const before = inner.place as Hook
    const next = before.stack?.leave(before)
    try {
      this.#state.add(inner)
    } catch (error) {
      before.stack?.insert(before, next)
      throw error
    }
    if (this.#isTaken) throw this.#refusal(`scope ${inner.name} is closed with it`)
  }
}

const wrap = (env: ScopeEnv, state: ScopeState) => new Scope(env, state)
