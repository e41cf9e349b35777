import { messageOf, read, show } from './errors.js'

/** What was thrown, as data that can be cloned: a clone of an error forgets its own name, its code and all it can't clone. */
export type Packed = PackedError | { readonly value: unknown }

interface PackedError {
  readonly name: string
  readonly message: string
  readonly stack: string | undefined
  readonly isDom: boolean
  readonly props: Record<string, unknown>
  readonly cause?: Packed
  readonly errors?: Packed[]
}

/** Causes of causes. */
const DEEPEST = 8
const OWN = ['name', 'message', 'stack', 'cause', 'errors']

/** Never throws. */
export function pack(error: unknown, depth = 0): Packed {
  if (!isError(error)) return { value: cloneable(error) ? error : show(error) }
  const keys = keysOf(error).filter((key) => !OWN.includes(key) && cloneable(read(error, key)))
  const { cause, errors } = { cause: read(error, 'cause'), errors: read(error, 'errors') }
  const isDeep = depth >= DEEPEST
  return {
    name: text(read(error, 'name')) ?? 'Error',
    message: text(read(error, 'message')) ?? '',
    stack: text(read(error, 'stack')),
    isDom: error instanceof DOMException,
    props: Object.fromEntries(keys.map((key) => [key, read(error, key)])),
    ...(cause !== undefined && !isDeep && { cause: pack(cause, depth + 1) }),
    ...(Array.isArray(errors) && !isDeep && { errors: errors.map((each) => pack(each, depth + 1)) }),
  }
}

const KINDS = { Error, TypeError, RangeError, SyntaxError, ReferenceError, EvalError, URIError }

/** An error with the name, message, stack, properties, cause and errors of what was packed. */
export function unpack(packed: unknown): unknown {
  if (isError(packed)) return packed
  if (typeof packed !== 'object' || packed === null || !('message' in packed)) return read(packed, 'value')
  const { name, message, stack, isDom, props, cause, errors } = packed as PackedError
  const made = isDom ? new DOMException(message, name) : errors ? new AggregateError([], message) : new (kindOf(name))(message)
  const set = (key: string, value: unknown) =>
    Object.defineProperty(made, key, { value, writable: true, enumerable: false, configurable: true })
  if (!isDom && made.name !== name) set('name', name)
  set('stack', stack)
  if (cause !== undefined) set('cause', unpack(cause))
  if (errors) set('errors', errors.map(unpack))
  return isDom ? made : Object.assign(made, props)
}

const kindOf = (name: string) => (Object.hasOwn(KINDS, name) ? KINDS[name as keyof typeof KINDS] : Error)

/** Those of another realm, as of `node:vm`, have another class. */
const isError = (value: unknown): value is Error =>
  value instanceof Error ||
  (typeof value === 'object' && value !== null && Object.prototype.toString.call(value) === '[object Error]')

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
