import { PoolError } from '../shared/errors.js'
import { pack, uncloneable } from '../shared/pack.js'
import { following, type Link, ToPool, type Transferable } from '../shared/protocol.js'

/** Results are sent when the last messages were sent so many milliseconds ago, however few there are. */
const LONGEST_WAIT = 0.5

/** Results on their way to the pool: as few messages as can be, since each costs more than a small task. */
export class Outbox {
  /** Results that are sent together. */
  most = 1
  /** The number of the first; those that follow have the next ones. */
  private first = 0
  private next = 0
  private values: unknown[] = []
  private tasks: string[] = []
  private tooks: number[] = []
  private failed: number[] = []
  private items: Transferable[] = []
  private flushed = 0
  private isDue = false

  constructor(private readonly link: Link) {}

  /** `now` and `took` in milliseconds. */
  add(
    task: string,
    seq: number,
    isOk: boolean,
    value: unknown,
    took: number,
    now: number,
    items?: readonly Transferable[],
  ): void {
    if (this.values.length > 0 && seq !== this.next) this.flush(now)
    if (this.values.length === 0) this.first = seq
    this.next = following(seq)
    if (!isOk) this.failed.push(this.values.length)
    this.values.push(value)
    this.tasks.push(task)
    // Small whole numbers are short.
    this.tooks.push(Math.round(took * 1000))
    if (items) this.items.push(...items)
    if (this.values.length >= this.most || now - this.flushed > LONGEST_WAIT) this.flush(now)
  }

  flush(now: number): void {
    this.flushed = now
    if (this.values.length === 0) return
    const { first, values, tasks, tooks, failed, items } = this
    this.values = []
    this.tasks = []
    this.tooks = []
    this.failed = []
    this.items = []
    try {
      this.link.post([ToPool.results, first, tooks, failed, ...values], items)
    } catch {
      // One of them can't be cloned, and it isn't said which.
      let seq = first
      for (const [at, value] of values.entries()) {
        this.sendOne(tasks[at] as string, seq, !failed.includes(at), value, tooks[at] as number, items)
        seq = following(seq)
      }
    }
  }

  /** Results don't wait for a task that takes its time. */
  flushSoon(): void {
    if (this.isDue || this.values.length === 0) return
    this.isDue = true
    setImmediate(() => {
      this.isDue = false
      this.flush(performance.now())
    })
  }

  private sendOne(task: string, seq: number, isOk: boolean, value: unknown, took: number, items: readonly Transferable[]): void {
    const own = items.filter((item) => isIn(value, item))
    try {
      this.link.post([ToPool.results, seq, [took], isOk ? [] : [0], value], own)
    } catch (error) {
      const problem = new PoolError('ERR_EXODOS_UNCLONEABLE', uncloneable(`the result of ${task}`, error))
      this.link.post([ToPool.results, seq, [took], [0], pack(problem)])
    }
  }
}

/** Where each result is sent by itself, each item goes with its own. */
function isIn(value: unknown, item: unknown, seen = new Set<unknown>()): boolean {
  if (value === item || (ArrayBuffer.isView(value) && value.buffer === item)) return true
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || seen.has(value)) return false
  seen.add(value)
  const parts = value instanceof Map ? [...value].flat() : value instanceof Set ? [...value] : Object.values(value)
  return parts.some((part) => isIn(part, item, seen))
}
