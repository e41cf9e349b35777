import type { Scope } from 'exodos'
import { invalid, read } from '../shared/errors.js'
import { pack, unpack } from '../shared/pack.js'
import { following, type Link, type Message, NEXT, ToPool, ToWorker } from '../shared/protocol.js'
import { Context } from './context.js'
import type { DisposeContext, DisposeReason, TaskContext, WorkerOptions } from './definition.js'
import { Outbox } from './outbox.js'
import { Book } from './receipts.js'

export type AnyDefinition = WorkerOptions<unknown, unknown, Record<string, (input: unknown, ctx: TaskContext) => unknown>>

/** Milliseconds between two measurements of the heap. */
const MEASURED_EVERY = 100
/** Words of tasks that are over, above which they are forgotten. */
const LONG = 3000
/** Milliseconds after which the event loop is given a turn, however much has come. */
const LONGEST_TURN = 2
/** Words of a task in the line. */
const TASK = 4

/** Does what a pool asks a worker to do: init once, tasks one after another, dispose once. It knows no exits. */
export class Servant {
  /** Settles when `init` has. */
  initialized: Promise<void> = Promise.resolve()
  /** Why the pool wants it to leave. */
  asked: DisposeReason | undefined
  /** The number of the first task that has not begun. */
  begun = 0
  private isLeaving = false
  private end: { readonly reason: unknown } | undefined
  /** `init` has returned, and nobody has disposed of that. */
  private owns = false
  private resource: unknown
  private readonly book: Book
  /** Tasks that have come, from `head` on: `seq, name, input, isWatched` of each. */
  private line: unknown[] = []
  private head = 0
  private isWorking = false
  private readonly skipped = new Map<number, unknown>()
  private current: Context | undefined
  private readonly outbox: Outbox
  private measured = Number.NEGATIVE_INFINITY
  private whenIdle: (() => void)[] = []

  constructor(
    private readonly definition: AnyDefinition,
    private readonly link: Link,
    receipts: Scope,
    private readonly leave: () => void,
  ) {
    this.outbox = new Outbox(link)
    this.book = new Book(receipts, (count) => link.post([ToPool.receipts, count]))
  }

  /** Rejects with what `init` has thrown. */
  init(): Promise<void> {
    this.initialized = this.makeResource()
    return this.initialized
  }

  private async makeResource(): Promise<void> {
    const { data, worker } = this.link.birth
    this.resource = await this.definition.init?.({ data, worker, receipt: this.book.receipts })
    this.owns = true
  }

  readonly hear = (message: Message): void => {
    const [kind, first, second] = message
    if (kind === ToWorker.tasks) {
      this.compact()
      this.take(message)
      if (this.isLeaving) this.returnTasks()
      else if (!this.isWorking) void this.work()
    } else if (kind === ToWorker.abort) this.abort(first as number, unpack(second))
    else if (kind === ToWorker.takeBack) this.returnTasks()
    else if (kind === ToWorker.leave) {
      this.asked ??= { kind: first as DisposeReason['kind'] }
      if (!this.isLeaving) this.leave()
    }
  }

  /** Begins nothing from now on: what has come goes back, and what is still to come. */
  stop(): void {
    this.isLeaving = true
    // The pool may have said why.
    while (this.hearMore());
    this.flush()
    this.returnTasks()
  }

  /** What has come and was not started goes back to the pool. */
  private returnTasks(): void {
    const seqs: number[] = []
    for (let at = this.head; at < this.line.length; at += TASK) seqs.push(this.line[at] as number)
    this.line.length = this.head
    this.link.post([ToPool.returned, ...seqs])
  }

  /** Resolves when no task runs any more. */
  idle(): Promise<void> {
    return this.isWorking ? new Promise((resolve) => this.whenIdle.push(resolve)) : Promise.resolve()
  }

  /** The worker leaves. */
  abortRunning(reason: unknown): void {
    this.end = { reason }
    this.current?.abort(reason)
  }

  /** Gives back what `init` has made. Rejects with what went wrong; then the receipts are left. */
  async dispose(ctx: DisposeContext): Promise<void> {
    if (!this.owns) return
    this.owns = false
    const { dispose, disposeSync } = this.definition
    if (dispose) await dispose(this.resource, ctx)
    else disposeSync?.(this.resource, ctx)
    this.disposed()
  }

  /** The same where nothing can be waited for. False when there is no way to. */
  disposeSync(ctx: DisposeContext): boolean {
    const { dispose, disposeSync } = this.definition
    if (!this.owns) return true
    if (dispose && !disposeSync) return false
    this.owns = false
    disposeSync?.(this.resource, ctx)
    this.disposed()
    return true
  }

  private take(message: Message): void {
    let seq = message[1] as number
    this.outbox.most = message[2] as number
    for (let at = 3; at < message.length; ) {
      const name = message[at++]
      const isWatched = message[at++]
      for (let left = message[at++] as number; left > 0; left--) {
        this.line.push(seq, name, message[at++], isWatched)
        seq = following(seq)
      }
    }
  }

  /** A worker that always has something to do never comes to the end of the line. */
  private compact(): void {
    if (this.head < LONG) return
    this.line = this.line.slice(this.head)
    this.head = 0
  }

  private disposed(): void {
    this.resource = undefined
    this.book.cancel()
  }

  private abort(seq: number, reason: unknown): void {
    if (this.current?.seq === seq) this.current.abort(reason)
    else if (this.line.some((each, at) => at >= this.head && at % TASK === 0 && each === seq)) this.skipped.set(seq, reason)
  }

  private async work(): Promise<void> {
    this.isWorking = true
    let now = performance.now()
    const end = now + LONGEST_TURN
    while (this.head < this.line.length || (now < end && this.hearMore())) {
      if (this.head >= this.line.length) continue
      const { line, head } = this
      this.head += TASK
      const input = line[head + 2]
      line[head + 2] = undefined
      if (!this.claim(line[head] as number)) continue
      this.begun = following(line[head] as number)
      // With the last result the pool knows that this one has begun.
      if (line[head + 3]) this.outbox.flush(now)
      const doing = this.perform(line[head] as number, line[head + 1] as string, input, now)
      // Only what is asynchronous costs a turn of the microtasks.
      if (doing) await doing
      now = performance.now()
    }
    this.line = []
    this.head = 0
    this.isWorking = false
    // More messages may have come in the same piece: their results go together.
    if (this.link.more) this.flush()
    else process.nextTick(() => this.flush())
    for (const resolve of this.whenIdle.splice(0)) resolve()
  }

  /** Messages that have come meanwhile are read without an event for each; false when there is none. */
  private hearMore(): boolean {
    const message = this.link.more?.()
    if (message) this.hear(message)
    return message !== undefined
  }

  /** Whoever changes the word has the task: this worker, or the pool that has taken it back. */
  private claim(seq: number): boolean {
    return !this.link.words || Atomics.compareExchange(this.link.words, NEXT, seq, following(seq)) === seq
  }

  private perform(seq: number, name: string, input: unknown, began: number): Promise<void> | undefined {
    const ctx = new Context(this.resource, this.link.birth.worker, name, seq, this.progress)
    this.current = ctx
    try {
      if (this.skipped.has(seq)) throw this.skipped.get(seq)
      const task = Object.hasOwn(this.definition.tasks, name) ? this.definition.tasks[name] : undefined
      if (!task) throw invalid('task', `one of ${Object.keys(this.definition.tasks).join(', ')}`, name)
      const value = task(input, ctx)
      if (isThenable(value)) {
        this.outbox.flushSoon()
        const failed = (error: unknown) => this.failed(ctx, error, began)
        return Promise.resolve(value).then((result) => this.performed(ctx, true, result, began), failed)
      }
      this.performed(ctx, true, value, began)
    } catch (error) {
      return this.failed(ctx, error, began)
    }
    return undefined
  }

  private failed(ctx: Context, error: unknown, began: number): Promise<void> | undefined {
    // The task has called process.exit(): it never ends, and nothing is begun after it.
    if (isExitRequest(error)) return new Promise(() => {})
    // Nor is it the task that has failed where the worker leaves: the pool says what has become of that.
    if (this.end && error === this.end.reason) return new Promise(() => {})
    this.performed(ctx, false, pack(error), began)
    return undefined
  }

  private performed(ctx: Context, isOk: boolean, value: unknown, began: number): void {
    ctx.isOver = true
    this.current = undefined
    if (this.skipped.size > 0) this.skipped.delete(ctx.seq)
    const now = performance.now()
    this.outbox.add(ctx.task, ctx.seq, isOk, value, now - began, now, isOk ? ctx.items : undefined)
    this.measure(now)
  }

  private readonly progress = (seq: number, value: unknown): void => {
    this.flush()
    this.link.post([ToPool.progress, seq, value])
  }

  flush(): void {
    const now = performance.now()
    this.outbox.flush(now)
    this.measure(now)
  }

  private measure(now: number): void {
    if (!this.link.birth.measuresHeap || now - this.measured < MEASURED_EVERY) return
    this.measured = now
    this.link.post([ToPool.heap, process.memoryUsage().heapUsed])
  }
}

/** Thrown by exodos to unwind who calls `process.exit()`. */
const isExitRequest = (error: unknown) => read(error, Symbol.for('exodos.exit-request')) === true

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
