import { checkOptions, ExodosTypeError, invalid } from './errors.js'
import { type HookContext, type HookFunction, type HookOptions, type HookRecord, isAsyncFunction } from './hook.js'
import { type Kind, kindOf } from './kinds.js'

/** How to give back a resource of type `T`, and when. */
export interface CloseOptions<T> extends Omit<HookOptions, 'replace'> {
  /** The method that closes it, or a function that does. Default: found, see `closeOnExit`. */
  close?: (keyof T & string) | ((resource: T, ctx: HookContext) => unknown)
}

/** Methods that close something, the most graceful first. */
const VERBS = [
  Symbol.asyncDispose,
  Symbol.dispose,
  '$disconnect',
  'close',
  'quit',
  'end',
  'disconnect',
  'destroy',
  'terminate',
  'stop',
  'shutdown',
] as const

type Method = (this: unknown, callback?: (error?: unknown) => void) => unknown

/** How one resource is closed. */
interface Closer {
  close(ctx: HookContext): unknown
  /** Does it finish before it returns? As `sync` of `onExit`. */
  readonly sync: boolean | undefined
  /** Tells when the resource is closed by somebody else. */
  watch(gone: () => void): void
}

/** What is needed to register a resource. `owned` is to be called with the record, once that is registered. */
export interface Ownership {
  readonly fn: HookFunction
  readonly options: HookOptions
  owned(record: HookRecord): void
}

/** Finds how a resource is closed. `call` is what the user has called, `known` the options that it takes besides `close`. */
export function ownership<T>(call: string, resource: T, options: CloseOptions<T> = {}, known: readonly string[]): Ownership {
  checkOptions(call, options, [...known, 'close'])
  const { close, ...rest } = options
  const closer = findCloser(call, resource, close as string | undefined)
  return {
    fn: (ctx) => closer.close(ctx),
    options: { sync: closer.sync, ...rest, name: rest.name ?? ownName(resource) } as HookOptions,
    owned: (record) => hold(resource as object, record, closer),
  }
}

/** Everything that is to close one resource: whichever is first, the others are taken off. */
const holders = new WeakMap<object, Set<HookRecord>>()

function hold(resource: object, record: HookRecord, closer: Closer): void {
  const records = holders.get(resource)
  if (records) records.add(record)
  else holders.set(resource, new Set([record]))
  closer.watch(() => {
    for (const { place } of holders.get(resource) ?? []) place?.remove()
    holders.delete(resource)
  })
}

function findCloser(call: string, resource: unknown, close: unknown): Closer {
  if (typeof close === 'function')
    return {
      close: (ctx) => close(resource, ctx),
      sync: isAsyncFunction(close) ? false : undefined,
      watch: () => {},
    }
  if (close !== undefined && typeof close !== 'string')
    throw invalid('options.close', 'the name of a method, or a function', close)
  const isObject = (typeof resource === 'object' && resource !== null) || typeof resource === 'function'
  const kind = isObject && close === undefined ? kindOf(resource) : undefined
  if (kind) return ofKind(resource as object, kind)
  const method = isObject ? (close === undefined ? VERBS : [close]).find((verb) => isMethod(resource, verb)) : undefined
  if (method !== undefined) return byMethod(resource as Record<PropertyKey, Method>, method)
  const looked =
    close === undefined ? VERBS.map((verb) => (typeof verb === 'symbol' ? `[${verb.description}]` : verb)).join(', ') : close
  throw new ExodosTypeError(`${call}: expected something to close, with one of the methods ${looked}, got ${describe(resource)}`)
}

function isMethod(resource: unknown, verb: PropertyKey): boolean {
  try {
    return typeof (resource as Record<PropertyKey, unknown>)[verb] === 'function'
  } catch {
    // A getter, or a proxy, that throws.
    return false
  }
}

function ofKind(resource: object, kind: Kind<object>): Closer {
  return {
    close: (ctx) => kind.close(resource, ctx),
    sync: false,
    watch: (gone) => kind.watch(resource, gone),
  }
}

function byMethod(resource: Record<PropertyKey, Method>, name: PropertyKey): Closer {
  const method = resource[name] as Method
  const sync = name === Symbol.dispose ? true : name === Symbol.asyncDispose || isAsyncFunction(method) ? false : undefined
  return {
    close: () => (takesCallback(method) ? withCallback(resource, name) : (resource[name] as Method)()),
    sync,
    watch: (gone) => watchMethod(resource, name, gone),
  }
}

/** Does its first parameter have the name that callbacks have? Only the name tells: `ws.close(code)` and `redis.disconnect(reconnect)` must not be given a function. */
function takesCallback(method: Method): boolean {
  if (method.length === 0 || isAsyncFunction(method)) return false
  const [, first] =
    /^[^(=]*\(?\s*([\w$]+)/.exec(Function.prototype.toString.call(method).replace(/^(async\s+)?function\b/, '')) ?? []
  return first !== undefined && /^(cb|done|next|fn)$|(cb|callback)$/i.test(first)
}

/** Closes by a method that takes a callback, and may return a promise as well. */
function withCallback(resource: Record<PropertyKey, Method>, name: PropertyKey): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const result = (resource[name] as Method)((error) => (error ? reject(error) : resolve(undefined)))
    if (typeof (result as PromiseLike<unknown> | undefined)?.then === 'function') resolve(result)
  })
}

/** Closed by its own method, whoever calls that: from then on exodos has nothing to do with it, and its methods are as they were. */
function watchMethod(resource: Record<PropertyKey, Method>, name: PropertyKey, gone: () => void): void {
  const before = Object.getOwnPropertyDescriptor(resource, name)
  const method = resource[name] as Method
  const watched: Method = function (...args) {
    if (resource[name] === watched) {
      if (before) Object.defineProperty(resource, name, before)
      else delete resource[name]
    }
    gone()
    return method.apply(this, args)
  }
  try {
    Object.defineProperty(resource, name, {
      value: watched,
      writable: true,
      configurable: true,
      enumerable: before?.enumerable ?? false,
    })
  } catch {
    // Frozen: closing it early isn't seen.
  }
}

function ownName(resource: unknown): string {
  const own = typeof resource === 'function' ? resource.name : (resource as object).constructor?.name
  return typeof own === 'string' && own !== 'Object' ? own : 'resource'
}

function describe(resource: unknown): string {
  if (resource === null || typeof resource !== 'object')
    return String(typeof resource === 'function' ? `function ${resource.name}` : resource)
  return `an object of ${ownName(resource)}`
}
