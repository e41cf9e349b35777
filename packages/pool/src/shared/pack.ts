import { messageOf, PoolError, type PoolErrorCode, read, show } from './errors.js'

/** What was thrown, as data that can be cloned: a clone of an error forgets its own name, its code and all it can't clone. */
export type Packed = PackedError | { readonly value: unknown }

interface PackedError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly isDom: boolean
  readonly props: Record<string, unknown>
  readonly cause?: Packed
  readonly errors?: readonly Packed[]
}

/** Errors in one: causes, and theirs. */
const MOST = 100
const OWN = ['name', 'message', 'stack', 'cause', 'errors']

/** Never throws. An error that leads to itself does so afterwards, too. */
export function pack(error: unknown, seen = new Map<unknown, Packed>()): Packed {
  if (!isError(error)) return { value: cloneable(error) ? error : show(error) }
  const keys = keysOf(error).filter((key) => !OWN.includes(key) && cloneable(read(error, key)))
  const packed: { -readonly [K in keyof PackedError]: PackedError[K] } = {
    name: text(read(error, 'name')) ?? 'Error',
    message: text(read(error, 'message')) ?? '',
    stack: text(read(error, 'stack')),
    isDom: error instanceof DOMException,
    props: Object.fromEntries(keys.map((key) => [key, read(error, key)])),
  }
  seen.set(error, packed)
  const inner = (value: unknown) => seen.get(value) ?? (seen.size < MOST ? pack(value, seen) : { value: show(value) })
  const [cause, errors] = [read(error, 'cause'), read(error, 'errors')]
  if (cause !== undefined) packed.cause = inner(cause)
  if (isArray(errors)) packed.errors = listOf(errors).map(inner)
  return packed
}

const KINDS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError }

/** An error with the name, message, stack, properties, cause and errors of what was packed. */
export function unpack(packed: unknown, seen = new Map<unknown, unknown>()): unknown {
  if (isError(packed)) return packed
  if (typeof packed !== 'object' || packed === null || !('message' in packed)) return read(packed, 'value')
  const { name, message, stack, isDom, props, cause, errors } = packed as PackedError
  const { code } = props ?? {}
  const made = isDom
    ? new DOMException(message, name)
    : name === 'PoolError'
      ? new PoolError(code as PoolErrorCode, message)
      : errors
        ? new AggregateError([], message)
        : new (kindOf(name))(message)
  seen.set(packed, made)
  const inner = (value: unknown) => seen.get(value) ?? unpack(value, seen)
  const set = (key: string, value: unknown) =>
    Object.defineProperty(made, key, { value, writable: true, enumerable: false, configurable: true })
  if (!isDom && made.name !== name) set('name', name)
  set('stack', stack)
  if (cause !== undefined) set('cause', inner(cause))
  if (errors) set('errors', errors.map(inner))
  return isDom ? made : Object.assign(made, props)
}

const kindOf = (name: string) => (Object.hasOwn(KINDS, name) ? KINDS[name as keyof typeof KINDS] : Error)

/** Those of another realm, as of `node:vm`, have another class. A proxy may throw whatever it is asked. */
function isError(value: unknown): value is Error {
  try {
    const isObject = typeof value === 'object' && value !== null
    return value instanceof Error || (isObject && Object.prototype.toString.call(value) === '[object Error]')
  } catch {
    return false
  }
}

function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value)
  } catch {
    return false
  }
}

function listOf(values: unknown[]): unknown[] {
  try {
    return [...values]
  } catch {
    return []
  }
}

const text = (value: unknown) => (typeof value === 'string' ? value : undefined)

function keysOf(error: Error): string[] {
  try {
    return Object.keys(error)
  } catch {
    return []
  }
}

function cloneable(value: unknown): boolean {
  try {
    structuredClone(value)
    return true
  } catch {
    return false
  }
}

/** The error for what can't be handed to another thread or process. */
export const uncloneable = (what: string, error: unknown): string => `${what} can't be cloned: ${messageOf(error)}`
