import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import type { Action } from './action.js'
import { distrust } from './state-dir.js'

/** What a journal is made of. */
export type Line =
  | { readonly id: number; readonly at: number; readonly do: Action }
  | { readonly id: number; readonly is: Action }
  | { readonly off: number }
  | { readonly trying: number }
  | { readonly failed: number; readonly error: string }
  | { readonly left: number; readonly reason: string }

/** A record that has not been done or cancelled. */
export interface Entry {
  readonly id: number
  readonly action: Action
  /** Milliseconds since the epoch: the order over several journals, newest first. */
  readonly at: number
  /** So often it has been tried, and why it failed last. */
  readonly tries: number
  /** Whoever tried it last has died over it. */
  readonly isFatal?: boolean
  readonly error?: string
  /** It is not to be tried: why it was left alone. */
  readonly left?: string
}

/** Put in place of a line's first byte. */
export const CANCELLED = '#'

/** Of a line, in bytes: what is longer was not written by us. */
export const LONGEST = 1 << 20

export const lineOf = (line: Line): Uint8Array => Buffer.from(`${JSON.stringify(line)}\n`)

/**
 * What is left to be done of a journal, oldest first; of one that is gone nothing. It isn't read through a link, and not
 * believed unless it is ours alone. What can't be understood is left out: garbage, and a last line without its end, as what
 * it tells of had not begun.
 */
export function readJournal(path: string): Entry[] {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  try {
    return distrust(fstatSync(fd)) ? [] : readLines(readFileSync(fd))
  } finally {
    closeSync(fd)
  }
}

function readLines(data: Buffer): Entry[] {
  const live = new Map<number, Entry>()
  let at = 0
  for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, at)) {
    const line = end - at > LONGEST ? undefined : parse(data.toString('utf8', at, end))
    if (line) apply(live, line)
    at = end + 1
  }
  return [...live.values()]
}

export function apply(live: Map<number, Entry>, line: Line): void {
  if ('off' in line) live.delete(line.off)
  else if ('do' in line) live.set(line.id, { id: line.id, at: line.at, action: line.do, tries: 0 })
  else if ('is' in line) replace(live, line.id, () => ({ action: line.is }))
  else if ('trying' in line) replace(live, line.trying, ({ tries }) => ({ tries: tries + 1, isFatal: true }))
  else if ('left' in line) replace(live, line.left, () => ({ left: line.reason }))
  else replace(live, line.failed, () => ({ isFatal: false, error: line.error }))
}

function replace(live: Map<number, Entry>, id: number, change: (entry: Entry) => Partial<Entry>): void {
  const entry = live.get(id)
  if (entry) live.set(id, { ...entry, ...change(entry) })
}

export function parse(line: string): Line | undefined {
  if (!line.startsWith('{')) return undefined
  try {
    const value = JSON.parse(line) as Record<string, unknown>
    const isNumber = (key: string) => typeof value[key] === 'number'
    const isLine =
      isNumber('off') ||
      isNumber('trying') ||
      (isNumber('failed') && typeof value.error === 'string') ||
      (isNumber('left') && typeof value.reason === 'string') ||
      (isNumber('id') && ((isNumber('at') && isAction(value.do)) || isAction(value.is)))
    return isLine ? (value as unknown as Line) : undefined
  } catch {
    return undefined
  }
}

const FIELDS: Readonly<Record<Action['kind'], Readonly<Record<string, string>>>> = {
  path: { path: 'string', tree: 'boolean' },
  socket: { path: 'string' },
  process: { pid: 'number', start: 'string', group: 'boolean', signal: 'string', timeout: 'number' },
  command: { argv: 'object', cwd: 'string', env: 'object', timeout: 'number' },
  call: { module: 'string', export: 'string', args: 'object', cwd: 'string', env: 'object', timeout: 'number' },
  lock: { path: 'string', token: 'string' },
}

/** Of a kind that isn't known, it is one that a newer version can do. */
function isAction(value: unknown): boolean {
  const action = value as Record<string, unknown> | null
  if (typeof action?.kind !== 'string') return false
  const fields = Object.hasOwn(FIELDS, action.kind) ? FIELDS[action.kind as Action['kind']] : {}
  return Object.entries(fields).every(([name, type]) => typeof action[name] === type && action[name] !== null)
}
