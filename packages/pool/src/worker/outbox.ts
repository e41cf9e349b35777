import { PoolError } from '../shared/errors.js'
import { pack, uncloneable } from '../shared/pack.js'
import { following, type Link, type Message, ToPool, type Transferable } from '../shared/protocol.js'
import { snapshot } from '../shared/snapshot.js'

/** Results are sent when the last messages were sent so many milliseconds ago, however few there are. */
const LONGEST_WAIT = 0.5

/** What a message of results has before them. */
const HEAD = 4

/**
 * Results on their way to the pool: as few messages as can be, since each costs more than a small task. The lists are filled
 * anew, not made anew: dead ones that V8 took for long-lived would keep what was in them.
 */
export class Outbox {
  /** Results that are sent together. */
  most = 1
  private readonly tooks: number[] = []
  private readonly message: Message = [ToPool.results, 0, this.tooks, false]
  /** The number of the next one in the message. */
  private next = 0
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
    const isAlone = !isOk || items.length > 0 || (this.most === 1 && this.count === 0)
    const waiting = isAlone ? undefined : snapshot(value)
    if (!waiting) {
      this.flush(now)
      this.sendOne(task, seq, isOk, value, micros, items)
      return
    }
    if (this.count === 0) this.message[1] = seq
    this.next = following(seq)
    this.message.push(waiting.value)
    this.tooks.push(micros)
    if (this.count >= this.most || now - this.flushed > LONGEST_WAIT) this.flush(now)
  }

  flush(now: number): void {
    this.flushed = now
    if (this.count === 0) return
    this.link.post(this.message)
    this.message.length = HEAD
    this.tooks.length = 0
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
      this.link.post([ToPool.results, seq, [took], !isOk, value], items)
    } catch (error) {
      const problem = new PoolError('ERR_EXODOS_UNCLONEABLE', uncloneable(`the result of ${task}`, error))
      this.link.post([ToPool.results, seq, [took], true, pack(problem)])
    }
  }
}
