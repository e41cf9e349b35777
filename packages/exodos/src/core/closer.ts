import { checkOptions, ExodosTypeError, invalid, show } from './errors.js'
import {
  HAND_OVER,
  type HandOver,
  type HookContext,
  type HookFunction,
  type HookOptions,
  type HookRecord,
  isAsyncFunction,
  RECORD,
} from './hook.js'
import { type Kind, kindOf } from './kinds.js'
import { isThenable } from './work.js'

/** How to give back a resource of type `T`, and when. */
export interface CloseOptions<T> extends Omit<HookOptions, 'replace'> {
  /** The method that closes it, or a function that does. Default: found, see `closeOnExit`. */
  close?: (keyof T & string) | ((resource: T, ctx: HookContext) => unknown)
}

/**
 * Methods that close something, the most graceful first. A synchronous dispose can't be waited for: it comes last. What
 * has both, ends gracefully by `end` and abruptly by `close` (mysql2, postgres).
 */
const VERBS = [
  Symbol.asyncDispose,
  '$disconnect',
  'close',
  'quit',
  'end',
  'disconnect',
  'destroy',
  'terminate',
  'stop',
  'shutdown',
  Symbol.dispose,
] as const

/** The codes of errors that say: it is closed already. */
const CLOSED = [
  'ERR_SERVER_NOT_RUNNING',
  'ERR_SOCKET_DGRAM_NOT_RUNNING',
  'ERR_DIR_CLOSED',
  'UND_ERR_DESTROYED',
  'CONNECTION_CLOSED',
]

type Method = (this: unknown, callback?: (error?: unknown) => void) => unknown

type Begun = () => (result?: unknown) => unknown

/** How one resource is closed. */
interface Closer {
  close(ctx: HookContext): unknown
  /** Does it finish before it returns? As `sync` of `onExit`. */
  readonly sync: HookOptions['sync'] | undefined
  /** May it be called again, by its contract? */
  readonly isRepeatable: boolean
  /** Calls `begun` when somebody else closes the resource, and what that returns with the result; what comes of this, that one is given. */
  watch(begun: Begun): void
}

/** What is needed to register a resource. */
export interface Ownership {
  readonly fn: HookFunction
  readonly name: string
  readonly sync: HookOptions['sync'] | undefined
  /** Those of the user, without `close`. */
  readonly options: HookOptions | undefined
  /**
   * To be called once the record is registered. `isBrief`: the owner is short-lived, so what may be closed twice isn't
   * watched, which costs more than all the rest.
   */
  owned(record: HookRecord, isBrief?: boolean): void
}

/** Finds how a resource is closed. `call` is what the user has called, `known` the options that it takes besides `close`. */
export function ownership<T>(
  call: string,
  resource: T,
  options: CloseOptions<T> | undefined,
  known: readonly string[],
): Ownership {
  let close: unknown
  let rest: HookOptions | undefined
  if (options !== undefined) {
    checkOptions(call, options, [...known, 'close'])
    ;({ close, ...rest } = options)
  }
  // These are on the way out already.
  if (read(resource, RECORD)) throw invalid(call, 'a resource', 'a scope or a registration')
  const closer = findCloser(call, resource, close)
  const handOver = read(resource, HAND_OVER) as HandOver | undefined
  return {
    fn(ctx) {
      const closing = holders.get(resource as object)?.closing
      if (closing) return closing
      release(resource as object)
      return closer.close(ctx)
    },
    name: handOver?.name ?? ownName(resource),
    sync: closer.sync,
    options: rest,
    owned(record, isBrief) {
      if (!(isBrief && closer.isRepeatable)) hold(resource as object, record, closer)
      handOver?.take()
    },
  }
}

/** Everything that is to close one resource: whichever is first, the others are taken off. */
const holders = new WeakMap<object, { records: Set<HookRecord>; closing?: PromiseLike<unknown> | undefined }>()

function hold(resource: object, record: HookRecord, closer: Closer): void {
  const holder = holders.get(resource)
  if (holder) holder.records.add(record)
  else holders.set(resource, { records: new Set([record]) })
  closer.watch(() => {
    const there = holders.get(resource)
    let over = () => {}
    // An exit waits for it until it is over.
    if (there)
      there.closing = new Promise<void>((resolve) => {
        over = resolve
      })
    const end = () => {
      over()
      release(resource)
    }
    return (result) => {
      // The caller gets what comes after that: an error nobody handles stays visible.
      if (there && result instanceof Promise) return result.finally(end)
      end()
      return result
    }
  })
}

/** It is closed: nobody else needs to. */
function release(resource: object): void {
  for (const { place } of holders.get(resource)?.records ?? []) place?.remove()
  holders.delete(resource)
}

function findCloser(call: string, resource: unknown, close: unknown): Closer {
  if (typeof close === 'function')
    return {
      close: (ctx) => close(resource, ctx),
      sync: isAsyncFunction(close) ? false : undefined,
      isRepeatable: true,
      watch: () => {},
    }
  if (close !== undefined && typeof close !== 'string')
    throw invalid('options.close', 'the name of a method, or a function', close)
  const isObject = (typeof resource === 'object' && resource !== null) || typeof resource === 'function'
  const kind = isObject && close === undefined ? kindOf(resource) : undefined
  if (kind) return ofKind(resource as object, kind)
  const method = isObject ? methodOf(resource, close) : undefined
  if (method !== undefined) return byMethod(resource as Record<PropertyKey, Method>, method)
  const looked = close === undefined ? VERBS.map(nameOf).join(', ') : close
  throw new ExodosTypeError(`${call}: expected something to close, with one of the methods ${looked}, got ${describe(resource)}`)
}

function methodOf(resource: unknown, close: string | undefined): PropertyKey | undefined {
  if (close !== undefined) return isMethod(resource, close) ? close : undefined
  const found = VERBS.find((verb) => isMethod(resource, verb))
  return found === 'close' && isMethod(resource, 'end') ? 'end' : found
}

function isMethod(resource: unknown, verb: PropertyKey): boolean {
  return typeof read(resource, verb) === 'function'
}

/** A property; undefined where a getter or a proxy throws. */
export function read(resource: unknown, key: PropertyKey): unknown {
  try {
    return (resource as Record<PropertyKey, unknown> | null | undefined)?.[key]
  } catch {
    return undefined
  }
}

/** One listener for each is enough. */
const watchedKinds = new WeakSet<object>()

function ofKind(resource: object, kind: Kind<object>): Closer {
  return {
    close: (ctx) => kind.close(resource, ctx),
    sync: false,
    isRepeatable: false,
    watch(begun) {
      if (watchedKinds.has(resource)) return
      watchedKinds.add(resource)
      kind.watch(resource, () => {
        watchedKinds.delete(resource)
        begun()()
      })
    },
  }
}

function byMethod(resource: Record<PropertyKey, Method>, name: PropertyKey): Closer {
  const method = originalOf(resource[name] as Method)
  const isAsync = name === Symbol.asyncDispose || isAsyncFunction(method)
  // That is what the two symbols are for.
  const standIn =
    name === Symbol.asyncDispose && isMethod(resource, Symbol.dispose) && (() => (resource[Symbol.dispose] as Method)())
  return {
    close() {
      // Some refuse to be closed when they are not open, or not open yet.
      if ((resource as { isOpen?: unknown }).isOpen === false) return undefined
      const result = takesCallback(name, method) ? withCallback(resource, name) : attempt(() => (resource[name] as Method)())
      return isThenable(result) ? Promise.resolve(result).catch(unlessClosed) : result
    },
    sync: name === Symbol.dispose ? true : isAsync ? standIn : undefined,
    isRepeatable: typeof name === 'symbol',
    watch(begun) {
      // A symbol is for `using`; by hand the same things are closed by these.
      const names = typeof name === 'symbol' ? [name, ...['close', 'end'].filter((verb) => isMethod(resource, verb))] : [name]
      for (const each of names) watchMethod(resource, each, begun)
    },
  }
}

function attempt(close: () => unknown): unknown {
  try {
    return close()
  } catch (error) {
    return unlessClosed(error)
  }
}

function unlessClosed(error: unknown): undefined {
  if (!CLOSED.includes((error as { code?: string } | null | undefined)?.code as string)) throw error
}

/**
 * Does its first parameter have the name that callbacks have? Only the name tells: `ws.close(code)` and
 * `redis.disconnect(reconnect)` must not be given a function. `terminate` of worker threads has a deprecated one.
 */
function takesCallback(name: PropertyKey, method: Method): boolean {
  if (typeof name === 'symbol' || name === 'terminate' || isAsyncFunction(method)) return false
  const source = Function.prototype.toString.call(method)
  const [, parameter] = /^([\w$]+)\s*=>/.exec(source) ?? /^[^(]*\(\s*([\w$]+)\s*[,)=]/.exec(source) ?? []
  return parameter !== undefined && /^(cb|done|next|fn)$|(cb|callback)$/i.test(parameter)
}

/** Closes by a method that takes a callback, and may return a promise as well. */
function withCallback(resource: Record<PropertyKey, Method>, name: PropertyKey): Promise<unknown> {
  let result: unknown
  const called = new Promise((resolve, reject) => {
    result = (resource[name] as Method)((error) => (isError(error) ? reject(error) : resolve(undefined)))
  })
  if (!isThenable(result)) return called
  called.catch(() => {})
  return Promise.resolve(result)
}

/** Some give their callbacks an event, or a result. */
function isError(value: unknown): boolean {
  return value instanceof Error || typeof (value as Error | null | undefined)?.stack === 'string'
}

/** Asks a watched method, of any copy of exodos, what it was before. */
const ORIGINAL = Symbol.for('exodos.original')

const originalOf = (method: Method): Method => (method as Method & { [ORIGINAL]?: Method })[ORIGINAL] ?? method

/** Closed by its own method, whoever calls that: from then on exodos has nothing to do with it, and its methods are as they were. */
function watchMethod(resource: Record<PropertyKey, Method>, name: PropertyKey, begun: Begun): void {
  const before = Object.getOwnPropertyDescriptor(resource, name)
  const method = resource[name] as Method
  const original = originalOf(method)
  const watched = new Proxy(method, {
    get: (target, key) => (key === ORIGINAL ? original : Reflect.get(target, key)),
    apply(_, self, args) {
      if (self !== resource) return Reflect.apply(method, self, args)
      if (resource[name] === watched) {
        if (before) Object.defineProperty(resource, name, before)
        else delete resource[name]
      }
      const closed = begun()
      let result: unknown
      try {
        result = Reflect.apply(method, self, args)
      } catch (error) {
        closed()
        throw error
      }
      return closed(result)
    },
  })
  try {
    const enumerable = before?.enumerable ?? false
    Object.defineProperty(resource, name, { value: watched, writable: true, configurable: true, enumerable })
  } catch {
    // Frozen: closing it early isn't seen.
  }
}

function ownName(resource: unknown): string {
  const own = read(typeof resource === 'function' ? resource : read(resource, 'constructor'), 'name')
  return typeof own === 'string' && own !== 'Object' ? own : 'resource'
}

function describe(resource: unknown): string {
  if (isMethod(resource, 'then')) return 'a promise: await it first'
  if (resource === null || typeof resource !== 'object') return show(resource)
  const name = ownName(resource)
  return name === 'resource' ? 'an object without them' : `an object of ${name}`
}

/** Node 20 has other descriptions for its symbols. */
function nameOf(verb: (typeof VERBS)[number]): string {
  if (typeof verb === 'string') return verb
  return verb === Symbol.dispose ? '[Symbol.dispose]' : '[Symbol.asyncDispose]'
}
