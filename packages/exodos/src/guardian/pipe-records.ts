import type { ChildProcess } from 'node:child_process'
import { writeSync } from 'node:fs'
import { clock } from '../process/clock.js'
import { sleepSync } from '../system/sleep.js'
import type { Action } from './records/action.js'
import type { Records } from './records/journal.js'
import { type Line, lineOf } from './records/lines.js'

/** Milliseconds to wait for somebody who doesn't read. */
const PATIENCE = 1000

/** Records that a guardian in Node keeps, where nothing can be written to. Gone if it is killed together with us. */
export class PipeRecords implements Records {
  private readonly live = new Map<number, { at: number; action: Action }>()
  private last = 0
  private pipe: number | undefined
  private child: ChildProcess | undefined

  get count(): number {
    return this.live.size
  }

  /** A new guardian is told all that is open. */
  attach(child: ChildProcess): ChildProcess {
    // Node has no other way to write to a child before this returns.
    this.child = child
    this.pipe = (child.stdin as unknown as { _handle?: { fd?: number } } | null)?._handle?.fd
    for (const [id, { at, action }] of this.live) this.tell({ id, at, do: action })
    return child
  }

  add(action: Action): number {
    const id = ++this.last
    const at = Date.now()
    this.live.set(id, { at, action })
    this.tell({ id, at, do: action })
    return id
  }

  amend(id: number, action: Action): void {
    const entry = this.live.get(id)
    if (!entry) return
    entry.action = action
    this.tell({ id, is: action })
  }

  remove(id: number): void {
    if (this.live.delete(id)) this.tell({ off: id })
  }

  private tell(line: Line): void {
    const data = lineOf(line)
    const end = clock.now() + PATIENCE
    for (let at = 0; at < data.length && this.pipe !== undefined; ) {
      try {
        at += writeSync(this.pipe, data, at)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN' && clock.now() < end) sleepSync(1)
        else this.giveUp()
      }
    }
  }

  /** What it knows isn't true any more: the next one is told anew. */
  private giveUp(): void {
    this.pipe = undefined
    this.child?.kill('SIGKILL')
  }
}
