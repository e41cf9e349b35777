/** How `map` runs one task. */
type Run<I, O> = (input: I) => Promise<O>

/** What a map still has to do keeps a pool from closing. */
export interface MapHost {
  /** Is the pool closing? Then all is run, whether anybody reads the results or not. */
  readonly isClosing: boolean
  over(results: Results<never, unknown>): void
}

type Settled<O> = { readonly value: O } | { readonly error: unknown }

/**
 * The results of a `map`, as they come: an async iterator to be read once. At most `inFlight` tasks run, or have run without
 * anybody having read their results. One that fails ends it: what has been started is aborted, nothing else is.
 */
export class Results<I, O> implements AsyncIterableIterator<O> {
  private readonly iterator: Iterator<I> | AsyncIterator<I>
  /** By the number of its input; unordered by the order in which they have ended. */
  private readonly settled = new Map<number, Settled<O>>()
  private started = 0
  private ended = 0
  /** Readers that have asked, and those that have been answered. */
  private taken = 0
  private given = 0
  private isPulling = false
  /** No input is taken any more; or there is none. */
  private isExhausted = false
  private isAtEnd = false
  private isOver = false
  private readers: (() => void)[] = []

  constructor(
    inputs: Iterable<I> | AsyncIterable<I>,
    private readonly inFlight: number,
    private readonly ordered: boolean,
    private readonly run: Run<I, O>,
    /** Of all that it runs. */
    private readonly controller: AbortController,
    private readonly host: MapHost,
  ) {
    this.iterator = Symbol.asyncIterator in inputs ? inputs[Symbol.asyncIterator]() : inputs[Symbol.iterator]()
    void this.pull()
  }

  async next(): Promise<IteratorResult<O, undefined>> {
    const at = this.taken++
    await this.until(at)
    this.given = at + 1
    if (this.readers.length > 0) this.wake()
    const result = this.settled.get(at)
    if (!result) return { done: true, value: undefined }
    this.settled.delete(at)
    void this.pull()
    if ('value' in result) return { done: false, value: result.value }
    this.end(result.error)
    throw result.error
  }

  /** Aborts what runs; called at the end of a `for await` that is left early. */
  async return(): Promise<IteratorResult<O, undefined>> {
    this.end(new DOMException('nobody reads the results any more', 'AbortError'))
    return { done: true, value: undefined }
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  /** All results. */
  async toArray(): Promise<O[]> {
    const all: O[] = []
    for await (const each of this) all.push(each)
    return all
  }

  /** Nothing is run any more: whoever still waits is told. */
  fail(error: unknown): void {
    if (this.isDone) return
    this.isExhausted = true
    this.settle(this.started++, { error })
  }

  /** Runs all that is left, without waiting for a reader. */
  hurry(): void {
    void this.pull()
  }

  /** Is it the turn of this reader, and has the result been told, or is there none to come? */
  private async until(at: number): Promise<void> {
    while (at !== this.given || !(this.settled.has(at) || (this.isDone && (this.isOver || at >= this.started))))
      await new Promise<void>((resolve) => this.readers.push(resolve))
  }

  private get isDone(): boolean {
    return this.isOver || (this.isExhausted && this.ended === this.started)
  }

  private get hasRoom(): boolean {
    const unread = this.host.isClosing ? 0 : this.settled.size
    return this.started - this.ended + unread < this.inFlight
  }

  /** Takes inputs as long as there is room: those of an array without a turn of the microtasks for each. */
  private async pull(): Promise<void> {
    if (this.isPulling) return
    this.isPulling = true
    try {
      while (this.hasRoom && !this.isExhausted && !this.isOver) {
        const next = this.iterator.next()
        const { done, value } = 'then' in next ? await next : next
        if (this.isOver) break
        if (done) this.isExhausted = this.isAtEnd = true
        else this.begin(value as I)
      }
    } catch (error) {
      this.isExhausted = this.isAtEnd = true
      this.settle(this.started++, { error })
    }
    this.isPulling = false
    this.wake()
  }

  private begin(input: I): void {
    const at = this.started++
    this.run(input).then(
      (value) => this.settle(at, { value }),
      (error) => this.settle(at, { error }),
    )
  }

  private settle(at: number, result: Settled<O>): void {
    const place = this.ordered ? at : this.ended
    this.ended++
    // It ends with this; who has not read as far may still do so.
    if ('error' in result) this.isExhausted = true
    if (!this.isOver) this.settled.set(place, result)
    void this.pull()
    this.wake()
  }

  private wake(): void {
    for (const resolve of this.readers.splice(0)) resolve()
    if (this.isDone) this.host.over(this as never)
  }

  /** As the end of a `for` loop does, but for errors: there is one already, or nobody to hear of it. */
  private async leaveInputs(): Promise<void> {
    try {
      if (!this.isAtEnd) await this.iterator.return?.()
    } catch {
      // As said.
    }
  }

  private end(reason: unknown): void {
    if (this.isOver) return
    this.isOver = true
    this.settled.clear()
    this.controller.abort(reason)
    this.wake()
    void this.leaveInputs()
  }
}
