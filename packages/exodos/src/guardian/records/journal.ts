import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { ExodosTypeError } from '../../core/errors.js'
import type { Action } from './action.js'
import { CANCELLED, type Line, LONGEST, lineOf } from './lines.js'

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
 * A record is cancelled by its first byte: on most file systems that takes no space, so a full disk can't keep a cleanup
 * alive.
 */
export class Journal implements Records {
  private fd: number
  private size = 0
  /** Bytes of it that still mean something. */
  private needed = 0
  private readonly live = new Map<number, Live>()
  private last = 0
  private lastAt = 0
  private long = LONG

  constructor(
    readonly path: string,
    private readonly survives: 'process' | 'power' = 'process',
    /** Told that nothing is left to be done. */
    private readonly whenEmpty: (journal: Journal) => void = (journal) => journal.empty(),
  ) {
    this.fd = open(path)
    if (survives === 'power') for (let dir = dirname(path), n = 0; n < 4; dir = dirname(dir), n++) syncDirectory(dir)
  }

  get count(): number {
    return this.live.size
  }

  add(action: Action): number {
    const id = ++this.last
    // Also while a clock is set back: it is the order in which they were made.
    this.lastAt = Math.max(this.lastAt, Date.now())
    const at = this.lastAt
    const offset = this.size
    const size = this.write({ id, at, do: action })
    this.live.set(id, { at, action, offset, size })
    try {
      this.sync()
    } catch (error) {
      this.remove(id)
      throw error
    }
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
    writeSync(this.fd, CANCELLED, entry.offset)
    this.live.delete(id)
    this.needed -= entry.size
    if (this.live.size === 0) {
      if (this.size > LONG) this.empty()
      this.whenEmpty(this)
    } else if (this.size > this.long && this.needed < this.size / 2) {
      this.compact()
      // Where that failed it isn't tried again and again.
      this.long = Math.max(LONG, this.size * 1.5)
    }
    this.sync()
  }

  /** An empty journal tells the waiter that there is nothing to be done. It costs more than all else that a record does. */
  empty(): void {
    if (this.live.size > 0 || this.size === 0) return
    ftruncateSync(this.fd, 0)
    this.size = 0
  }

  /** Made again, with all that is open, when somebody has removed it; false when nobody has. */
  mend(): boolean {
    if (fstatSync(this.fd).nlink > 0) return false
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 })
    closeSync(this.fd)
    this.fd = open(this.path, constants.O_TRUNC)
    this.size = 0
    this.needed = 0
    for (const [id, entry] of this.live) {
      entry.offset = this.size
      entry.size = this.write({ id, at: entry.at, do: entry.action })
    }
    return true
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
    const beside = `${this.path}.new`
    let fd: number | undefined
    let lines: Uint8Array[]
    try {
      fd = open(beside, constants.O_TRUNC)
      lines = Array.from(this.live, ([id, { at, action }]) => lineOf({ id, at, do: action }))
      const text = Buffer.concat(lines)
      if (writeSync(fd, text) < text.length) throw new Error('no space')
      if (this.survives === 'power') fdatasyncSync(fd)
      renameSync(beside, this.path)
      if (this.survives === 'power') syncDirectory(dirname(this.path))
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
      const { length } = lines[next++] as Uint8Array
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
