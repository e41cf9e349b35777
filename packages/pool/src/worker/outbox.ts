import { PoolError } from '../shared/errors.js'
import { pack, uncloneable } from '../shared/pack.js'
import { following, type Link, type Message, ToPool, type Transferable } from '../shared/protocol.js'

/** Results are sent when the last messages were sent so many milliseconds ago, however few there are. */
const LONGEST_WAIT = 0.5

/** What a message of results has before them. */
const HEAD = 4

/**
 * Results on their way to the pool: as few messages as can be, since each costs more than a small task. The lists are filled
 * anew, not made anew: dead ones that V8 took for long-lived would keep large results.
 */
export class Outbox {
  /** Results that are sent together. */
  most = 1
  private readonly tooks: number[] = []
  private readonly failed: number[] = []
  private readonly message: Message = [ToPool.results, 0, this.tooks, this.failed]
  /** The number of the next one in the message. */
  private next = 0
  private readonly tasks: string[] = []
  private readonly items: Transferable[] = []
  private flushed = 0
  private isDue = false

  constructor(private readonly link: Link) {}

  private get count(): number {
    return this.tooks.length
  }

  /** `now` and `took` in milliseconds. */
  add(
    task: string,
    seq: number,
    isOk: boolean,
    value: unknown,
    took: number,
    now: number,
    items: readonly Transferable[] = [],
  ): void {
    // Small whole numbers are short.
    const micros = Math.round(took * 1000)
    if (this.count > 0 && seq !== this.next) this.flush(now)
    if (this.count === 0) {
      if (this.most === 1) {
        this.flushed = now
        this.sendOne(task, seq, isOk, value, micros, items)
        return
      }
      this.message[1] = seq
    }
    this.next = following(seq)
    if (!isOk) this.failed.push(this.count)
    this.message.push(value)
    this.tasks.push(task)
    this.tooks.push(micros)
    this.items.push(...items)
    if (this.count >= this.most || now - this.flushed > LONGEST_WAIT) this.flush(now)
  }

  flush(now: number): void {
    this.flushed = now
    if (this.count === 0) return
    try {
      this.link.post(this.message, this.items)
    } catch {
      this.sendEach()
    }
    this.message.length = HEAD
    for (const list of [this.tooks, this.failed, this.tasks, this.items]) list.length = 0
  }

  /** One of them can't be cloned, and it isn't said which. */
  private sendEach(): void {
    const { message, tasks, tooks, failed, items } = this
    let seq = message[1] as number
    for (const [at, task] of [...tasks].entries()) {
      const own = items.filter((item) => isIn(message[at + HEAD], item))
      this.sendOne(task, seq, !failed.includes(at), message[at + HEAD], tooks[at] as number, own)
      seq = following(seq)
    }
  }

  /** Results don't wait for a task that takes its time. */
  flushSoon(): void {
    if (this.isDue || this.count === 0) return
    this.isDue = true
    setImmediate(() => {
      this.isDue = false
      this.flush(performance.now())
    })
  }

  private sendOne(task: string, seq: number, isOk: boolean, value: unknown, took: number, items: readonly Transferable[]): void {
    try {
      this.link.post([ToPool.results, seq, [took], isOk ? [] : [0], value], items)
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
