import { types } from 'node:util'

/** Properties of what is copied here: more than that goes by itself. */
const MOST = 32

/** Characters, above which a text goes by itself: the other side is at one while the next is on its way. */
const LONG = 4096

const isSimple = (value: unknown) =>
  typeof value === 'string'
    ? value.length <= LONG
    : value === null || (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol')

/**
 * A value as a clone of it would be now, so that it can wait for others and be sent with them: a simple one, or a list or plain
 * object of some. What is sent with others would else be changed meanwhile, or be shared by those that get it. Undefined for
 * anything else, which is to be sent at once, by itself.
 */
export function snapshot(value: unknown): { readonly value: unknown } | undefined {
  if (isSimple(value)) return { value }
  if (typeof value !== 'object') return undefined
  try {
    return copied(value as object)
  } catch {
    // A getter that throws: the error is told where it is cloned.
    return undefined
  }
}

function copied(value: object): { readonly value: unknown } | undefined {
  const isList = Array.isArray(value)
  if (Object.getPrototypeOf(value) !== (isList ? Array.prototype : Object.prototype)) return undefined
  // These can't be cloned, also if they look like it.
  if (types.isProxy(value) || types.isArgumentsObject(value)) return undefined
  if (isList && value.length > MOST) return undefined
  let count = 0
  for (const _ in value) if (++count > MOST) return undefined
  const copy = (isList ? value.slice() : { ...value }) as Record<string, unknown>
  // A list may have properties of its own.
  for (const key in value) if (!Object.hasOwn(copy, key) || !isSimple(copy[key])) return undefined
  return { value: copy }
}
