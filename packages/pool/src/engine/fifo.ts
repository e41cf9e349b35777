/** Places of what is gone, above which they are given back. */
const LONG = 4096

/**
 * First in, first out; but anything can be taken out. An array rather than a Map: of one that is filled and emptied all the
 * time V8 makes new tables, and old ones keep those after them alive, with all that was in them.
 */
export class Fifo<T> implements Iterable<T> {
  private items: (T | undefined)[] = []
  private head = 0
  private tail = 0

  get length(): number {
    return this.tail - this.head
  }

  get first(): T | undefined {
    return this.items[this.head]
  }

  push(item: T): void {
    this.items[this.tail++] = item
  }

  shift(): T | undefined {
    const item = this.first
    if (this.length === 0) return undefined
    this.items[this.head++] = undefined
    if (this.head > LONG && this.head > this.length) this.set([...this])
    else if (this.length === 0) this.head = this.tail = 0
    return item
  }

  /** Before all others. */
  unshift(items: readonly T[]): void {
    this.set([...items, ...this])
  }

  /** False if it isn't there. */
  remove(item: T): boolean {
    if (item === this.first) return this.shift() !== undefined
    const at = this.items.indexOf(item, this.head)
    if (at < 0) return false
    this.items.splice(at, 1)
    this.tail--
    return true
  }

  has(item: T): boolean {
    return item === this.first || this.items.includes(item, this.head)
  }

  /** Those that are there now: whoever iterates may take them out. */
  [Symbol.iterator](): ArrayIterator<T> {
    return (this.items.slice(this.head, this.tail) as T[])[Symbol.iterator]()
  }

  protected set(items: T[]): void {
    this.items = items
    this.head = 0
    this.tail = items.length
  }
}
