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
 * when the first edge asks for it.
 */
export class Stack {
  private readonly rings = new Map<number, Hook>()
  /** The rings, highest priority first. */
  private ordered: Hook[] = []
  /** Hooks that are not yet over, by name and by record. */
  private index: Map<string | HookRecord, Set<Hook>> | undefined
  /** How many edges of hooks not yet over name what. */
  private readonly awaited = new Map<string, number>()
  /** Called, and not yet settled. */
  private readonly open = new Set<Hook>()

  constructor(private readonly onSize: (change: 1 | -1) => void) {}

  /** Throws `ERR_EXODOS_CYCLE`, and adds nothing, when the record's edges close a cycle. */
  add(record: HookRecord): Hook {
    if (record.after) {
      this.index ??= this.makeIndex()
      this.refuseCycle(record)
    }
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

  /** Takes off the hooks of a name that have not been called yet, but for one. */
  removeNamed(name: string, except: Hook): void {
    for (const hook of [...this]) if (hook.record.name === name && hook !== except) hook.remove()
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
    if (hook.prev === hook.next && hook.record.priority !== 0) this.dropRing(hook.record.priority)
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
    if (this.index.get(hook.record)?.has(hook)) this.count(hook.record.after, -1)
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
    const at = this.ordered.findIndex((other) => other.record.priority < priority)
    this.ordered.splice(at === -1 ? this.ordered.length : at, 0, ring)
    return ring
  }

  /** Priorities may be as many as hooks ever were: none outlives its last hook. */
  private dropRing(priority: number): void {
    const ring = this.rings.get(priority) as Hook
    this.rings.delete(priority)
    this.ordered.splice(this.ordered.indexOf(ring), 1)
  }

  private makeIndex(): Map<string | HookRecord, Set<Hook>> {
    this.index = new Map()
    for (const hook of [...this, ...this.open]) this.addToIndex(hook)
    return this.index
  }

  private addToIndex(hook: Hook): void {
    const { name, after } = hook.record
    if (this.index?.get(hook.record)?.has(hook)) return
    for (const key of [name, hook.record]) {
      const hooks = this.index?.get(key)
      if (hooks) hooks.add(hook)
      else this.index?.set(key, new Set([hook]))
    }
    this.count(after, 1)
  }

  private count(after: HookRecord['after'], change: 1 | -1): void {
    for (const target of after ?? []) {
      if (typeof target !== 'string') continue
      const count = (this.awaited.get(target) ?? 0) + change
      if (count > 0) this.awaited.set(target, count)
      else this.awaited.delete(target)
    }
  }

  /** Follows the edges from the record on. Only a name that others wait for, or its own, can lead back to it. */
  private refuseCycle(record: HookRecord): void {
    const { name } = record
    if (name === '' || !(this.awaited.has(name) || record.after?.includes(name))) return
    const cameFrom = new Map<HookRecord, HookRecord | undefined>([[record, undefined]])
    for (const from of cameFrom.keys()) {
      for (const target of from.after ?? []) {
        if (target === name) throw cycle(name, from, cameFrom)
        for (const { record: next } of this.index?.get(target) ?? []) {
          // What is about to be replaced leads nowhere.
          const replaced = record.replace && next.name === name
          if (!replaced && !cameFrom.has(next)) cameFrom.set(next, from)
        }
      }
    }
  }
}

function cycle(name: string, last: HookRecord, cameFrom: Map<HookRecord, HookRecord | undefined>): ExodosError {
  const names = [name]
  for (let record: HookRecord | undefined = last; record; record = cameFrom.get(record)) names.unshift(record.name)
  return new ExodosError('ERR_EXODOS_CYCLE', `options.after: expected an order without a cycle, got ${names.join(' → after ')}`)
}
