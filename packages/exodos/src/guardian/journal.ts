import { closeSync, constants, fdatasyncSync, fsyncSync, ftruncateSync, openSync, renameSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { ExodosTypeError } from '../core/errors.js'
import { CANCELLED, type Line, LONGEST, lineOf } from './lines.js'
import type { Action } from './record.js'

/** Rewritten above so many bytes, if most of it is over. */
const LONG = 1 << 20

const NEW_LINE = Buffer.from('\n')

/** Where records are written down. */
export interface Records {
  readonly count: number
  /** Throws when it can't be written down, so that nobody creates what nobody would remove. */
  add(action: Action): number
  /** The same record, of which more is known now. */
  amend(id: number, action: Action): void
  /** Done, or cancelled: after it has returned nobody does it. */
  remove(id: number): void
}

interface Live {
  readonly at: number
  action: Action
  offset: number
  size: number
}

/**
 * A file of records, one line each. Written before it returns; the page cache outlives the process, however it ends. With
 * `durability: 'power'` the disk has it, too.
 *
 * A record is cancelled by its first byte: that takes no space, so a full disk can't keep a cleanup alive.
 */
export class Journal implements Records {
  private fd: number
  private size = 0
  /** Bytes of it that still mean something. */
  private needed = 0
  private readonly live = new Map<number, Live>()
  private last = 0

  constructor(
    readonly path: string,
    private readonly survives: 'process' | 'power' = 'process',
    /** Told that nothing is left to be done. */
    private readonly whenEmpty: (journal: Journal) => void = (journal) => journal.empty(),
  ) {
    this.fd = open(path)
    if (survives === 'power') for (let dir = dirname(path), n = 0; n < 3; dir = dirname(dir), n++) syncDirectory(dir)
  }

  get count(): number {
    return this.live.size
  }

  add(action: Action): number {
    const id = ++this.last
    const at = Date.now()
    const offset = this.size
    const size = this.write({ id, at, do: action })
    this.live.set(id, { at, action, offset, size })
    this.sync()
    return id
  }

  amend(id: number, action: Action): void {
    const entry = this.live.get(id)
    if (!entry) return
    entry.action = action
    entry.size += this.write({ id, is: action })
    this.sync()
  }

  remove(id: number): void {
    const entry = this.live.get(id)
    if (!entry) return
    this.live.delete(id)
    this.needed -= entry.size
    writeSync(this.fd, CANCELLED, entry.offset)
    if (this.live.size === 0) {
      if (this.size > LONG) this.empty()
      this.whenEmpty(this)
    } else if (this.size > LONG && this.needed < this.size / 2) this.compact()
    this.sync()
  }

  /** An empty journal tells the waiter that there is nothing to be done. It costs more than all else that a record does. */
  empty(): void {
    if (this.live.size > 0 || this.size === 0) return
    ftruncateSync(this.fd, 0)
    this.size = 0
  }

  private sync(): void {
    if (this.survives === 'power') fdatasyncSync(this.fd)
  }

  private write(line: Line): number {
    const data = lineOf(line)
    if (data.length > LONGEST)
      throw new ExodosTypeError(`a record: expected at most ${LONGEST} bytes as JSON, got ${data.length}`)
    try {
      const written = writeSync(this.fd, data, 0, data.length, this.size)
      if (written < data.length) throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
    } catch (error) {
      // Half a line would spoil the next one.
      ftruncateSync(this.fd, this.size)
      throw error
    }
    this.size += data.length
    this.needed += data.length
    return data.length
  }

  /** Written beside and renamed: whoever reads finds the old one or the new one. */
  private compact(): void {
    const lines = Array.from(this.live, ([id, { at, action }]) => lineOf({ id, at, do: action }))
    const text = Buffer.concat(lines)
    const beside = `${this.path}.new`
    let fd: number | undefined
    try {
      fd = open(beside, constants.O_TRUNC)
      if (writeSync(fd, text) < text.length) throw new Error('no space')
      if (this.survives === 'power') fdatasyncSync(fd)
      renameSync(beside, this.path)
    } catch {
      // It stays as long as it is.
      if (fd !== undefined) closeSync(fd)
      return
    }
    closeSync(this.fd)
    this.fd = fd
    this.size = 0
    let next = 0
    for (const entry of this.live.values()) {
      const { length } = lines[next++] as Buffer
      Object.assign(entry, { offset: this.size, size: length })
      this.size += length
    }
    this.needed = this.size
  }
}

/** Adds lines to journals of owners that have died, maybe in the middle of one. */
export class Notes {
  private readonly files = new Map<string, number>()

  add(journal: string, line: Line): void {
    let fd = this.files.get(journal)
    if (fd === undefined) {
      fd = open(journal, constants.O_APPEND)
      this.files.set(journal, fd)
    }
    writeSync(fd, Buffer.concat([NEW_LINE, lineOf(line)]))
  }

  close(): void {
    for (const fd of this.files.values()) closeSync(fd)
  }
}

function open(path: string, flags = 0): number {
  // Never through somebody else's link.
  return openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | flags, 0o600)
}

function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
