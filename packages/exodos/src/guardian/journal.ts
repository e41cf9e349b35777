import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import type { Action } from './record.js'

/** Rewritten above so many bytes, if most of it is over. */
const LONG = 1 << 20

/** A record that has not been done or cancelled. */
export interface Entry {
  readonly id: number
  readonly action: Action
  /** Milliseconds since the epoch: the order over several journals, newest first. */
  readonly at: number
  /** So often it has been tried, and why it failed last. */
  readonly tries: number
  readonly error?: string
}

type Line =
  | { readonly id: number; readonly at: number; readonly do: Action }
  | { readonly off: number }
  | { readonly id: number; readonly is: Action }
  | { readonly failed: number; readonly error: string }

/**
 * A file of records, one line each, only ever appended to. Written before it returns; the page cache outlives the process,
 * however it ends. With `durability: 'power'` the disk has it, too.
 */
export class Journal {
  private fd: number
  private size = 0
  private readonly live = new Map<number, { at: number; action: Action }>()
  private last = 0

  constructor(
    readonly path: string,
    private readonly survives: 'process' | 'power' = 'process',
  ) {
    this.fd = open(path)
    if (survives === 'power') syncDirectory(dirname(path))
  }

  get count(): number {
    return this.live.size
  }

  /** Throws when it can't be written down, so that nobody creates what nobody would remove. */
  add(action: Action): number {
    const id = ++this.last
    const at = Date.now()
    this.write({ id, at, do: action })
    if (this.survives === 'power') fdatasyncSync(this.fd)
    this.live.set(id, { at, action })
    return id
  }

  /** The same record, of which more is known now. */
  amend(id: number, action: Action): void {
    const entry = this.live.get(id)
    if (!entry) return
    entry.action = action
    this.write({ id, is: action })
  }

  /** Done, or cancelled: after it has returned nobody does it. */
  remove(id: number): void {
    if (!this.live.delete(id)) return
    if (this.live.size === 0) {
      // An empty journal tells the waiter that there is nothing to be done.
      ftruncateSync(this.fd, 0)
      this.size = 0
    } else {
      this.write({ off: id })
      if (this.size > LONG) this.compact()
    }
    if (this.survives === 'power') fdatasyncSync(this.fd)
  }

  close(): void {
    closeSync(this.fd)
  }

  private write(line: Line): void {
    const text = `${JSON.stringify(line)}\n`
    const data = Buffer.from(text)
    const written = writeSync(this.fd, data)
    if (written < data.length) {
      // The disk is full. Half a line would spoil the next one.
      ftruncateSync(this.fd, this.size)
      throw Object.assign(new Error(`ENOSPC: no space left for a record in ${this.path}`), { code: 'ENOSPC' })
    }
    this.size += written
  }

  /** Written beside and renamed: whoever reads finds the old one or the new one. */
  private compact(): void {
    const lines = Array.from(this.live, ([id, { at, action }]) => `${JSON.stringify({ id, at, do: action } satisfies Line)}\n`)
    const text = Buffer.from(lines.join(''))
    if (text.length > this.size / 2) return
    const beside = `${this.path}.new`
    const fd = open(beside, constants.O_TRUNC)
    try {
      if (writeSync(fd, text) < text.length) throw new Error('no space')
      if (this.survives === 'power') fdatasyncSync(fd)
      renameSync(beside, this.path)
    } catch {
      // It stays as long as it is.
      closeSync(fd)
      return
    }
    closeSync(this.fd)
    this.fd = fd
    this.size = text.length
  }
}

/** Adds a line to the journal of an owner that has died. */
export function note(path: string, line: Line): void {
  const fd = open(path)
  try {
    writeSync(fd, `${JSON.stringify(line)}\n`)
  } finally {
    closeSync(fd)
  }
}

function open(path: string, flags = 0): number {
  // Never through somebody else's link.
  return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND | constants.O_NOFOLLOW | flags, 0o600)
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** A line that is longer was not written by us. */
const LONGEST = 1 << 20

/** What is left to be done of a journal; newest first. What can't be understood is left out: a torn last line, garbage. */
export function readJournal(path: string): Entry[] {
  const live = new Map<number, Entry>()
  const text = readFileSync(path, 'utf8')
  // A last line without its end was being written when the process died: what it says had not begun.
  const lines = text.slice(0, text.lastIndexOf('\n') + 1).split('\n')
  for (const line of lines) {
    if (line === '' || line.length > LONGEST) continue
    const parsed = parse(line)
    if (!parsed) continue
    if ('off' in parsed) live.delete(parsed.off)
    else if ('do' in parsed) live.set(parsed.id, { id: parsed.id, at: parsed.at, action: parsed.do, tries: 0 })
    else if ('is' in parsed) replace(live, parsed.id, { action: parsed.is })
    else replace(live, parsed.failed, { tries: (live.get(parsed.failed)?.tries ?? 0) + 1, error: parsed.error })
  }
  return [...live.values()].sort((a, b) => b.at - a.at || b.id - a.id)
}

function replace(live: Map<number, Entry>, id: number, change: Partial<Entry>): void {
  const entry = live.get(id)
  if (entry) live.set(id, { ...entry, ...change })
}

function parse(line: string): Line | undefined {
  try {
    const value = JSON.parse(line) as Record<string, unknown>
    const isNumber = (key: string) => typeof value[key] === 'number'
    const isAction = (key: string) => typeof (value[key] as Action | null)?.kind === 'string'
    const isLine =
      isNumber('off') ||
      (isNumber('failed') && typeof value.error === 'string') ||
      (isNumber('id') && ((isNumber('at') && isAction('do')) || isAction('is')))
    return isLine ? (value as unknown as Line) : undefined
  } catch {
    return undefined
  }
}
