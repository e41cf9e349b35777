import { ExodosError } from './errors.js'
import type { HookRecord } from './hook.js'

/** A hook's place in a phase: a link in the list of its priority. */
export class Hook {
  prev: Hook = this
  next: Hook = this
  /** In the registry, and not yet called. */
  pending = false

  constructor(
    readonly record: HookRecord,
    private readonly stack: Stack | undefined,
  ) {}

  /** Takes the hook off; false if it has run or been taken off before. */
  remove(): boolean {
    if (!this.stack?.take(this)) return false
    this.stack.settled(this)
    return true
  }
}

/**
 * The hooks of one phase, in the order in which they run: higher priority first, then newest first, and nothing
 * before what it is to come `after`.
 *
 * Adding and removing are O(1): each priority is a ring of links, newest first. The index of names is made only
 * when the first edge or replacement asks for it.
 */
export class Stack {
  private readonly rings = new Map<number, Hook>()
  /** The rings, highest priority first. */
  private ordered: Hook[] = []
  /** Hooks that are not yet over, by name and by record. */
  private index: Map<string | HookRecord, Set<Hook>> | undefined
  /** Called, and not yet settled. */
  private readonly open = new Set<Hook>()

  constructor(private readonly onSize: (change: 1 | -1) => void) {}

  /** Throws `ERR_EXODOS_CYCLE`, and adds nothing, when the record's edges close a cycle. */
  add(record: HookRecord): Hook {
    if (record.after || record.replace) this.index ??= this.makeIndex()
    if (record.replace) for (const old of [...(this.index?.get(record.name) ?? [])]) old.remove()
    if (record.after) this.refuseCycle(record)
    const hook = new Hook(record, this)
    const ring = this.rings.get(record.priority) ?? this.addRing(record.priority)
    hook.prev = ring
    hook.next = ring.next
    ring.next.prev = hook
    ring.next = hook
    hook.pending = true
    if (this.index) this.addToIndex(hook)
    this.onSize(1)
    return hook
  }

  get isEmpty(): boolean {
    return this.ordered.every((ring) => ring.next === ring)
  }

  /** Takes a hook off the list, before it is called: re-entry can't call it twice. False if it wasn't there any more. */
  take(hook: Hook): boolean {
    if (!hook.pending) return false
    hook.pending = false
    hook.prev.next = hook.next
    hook.next.prev = hook.prev
    this.onSize(-1)
    return true
  }

  /** The next hook that waits for no other one, taken off; undefined when there is none, or none that may start yet. */
  shift(leaving: boolean): Hook | undefined {
    let blocked: Hook | undefined
    for (const ring of this.ordered) {
      for (let hook = ring.next; hook !== ring; hook = hook.next) {
        if (!leaving && hook.record.orphan) continue
        if (hook.record.after?.some((target) => this.index?.has(target))) blocked ??= hook
        else return this.taken(hook)
      }
    }
    // Edges can't close a cycle; should a foreign copy's ever do so, running one of them beats waiting for ever.
    return blocked && this.open.size === 0 ? this.taken(blocked) : undefined
  }

  /** The hook was called and has not settled yet: what is to come after it waits. */
  opened(hook: Hook): void {
    this.open.add(hook)
    if (this.index) this.addToIndex(hook)
  }

  /** The hook is over: what is to come after it may start. */
  settled(hook: Hook): void {
    if (this.open.size > 0) this.open.delete(hook)
    if (!this.index) return
    for (const key of [hook.record.name, hook.record]) {
      const hooks = this.index.get(key)
      if (hooks?.delete(hook) && hooks.size === 0) this.index.delete(key)
    }
  }

  *[Symbol.iterator](): Generator<Hook> {
    for (const ring of this.ordered) {
      for (let hook = ring.next, next: Hook; hook !== ring; hook = next) {
        next = hook.next
        yield hook
      }
    }
  }

  private taken(hook: Hook): Hook {
    this.take(hook)
    return hook
  }

  private addRing(priority: number): Hook {
    const ring = new Hook({ priority } as HookRecord, undefined)
    this.rings.set(priority, ring)
    this.ordered = [...this.rings].sort((a, b) => b[0] - a[0]).map(([, link]) => link)
    return ring
  }

  private makeIndex(): Map<string | HookRecord, Set<Hook>> {
    this.index = new Map()
    for (const hook of [...this, ...this.open]) this.addToIndex(hook)
    return this.index
  }

  private addToIndex(hook: Hook): void {
    for (const key of [hook.record.name, hook.record]) {
      const hooks = this.index?.get(key)
      if (hooks) hooks.add(hook)
      else this.index?.set(key, new Set([hook]))
    }
  }

  /** A hook without edges of its own can't close a cycle, so only those with some are ever searched. */
  private refuseCycle(record: HookRecord): void {
    const seen = new Set<HookRecord>()
    const search = (from: HookRecord, path: string[]): void => {
      for (const target of from.after ?? []) {
        const name = typeof target === 'string' ? target : target.name
        if (target === record || (record.name !== '' && target === record.name)) {
          const cycle = [...path, name].join(' → after ')
          throw new ExodosError('ERR_EXODOS_CYCLE', `options.after: expected an order without a cycle, got ${cycle}`)
        }
        for (const { record: next } of this.index?.get(target) ?? []) {
          if (seen.has(next)) continue
          seen.add(next)
          search(next, [...path, name])
        }
      }
    }
    search(record, [record.name])
  }
}
