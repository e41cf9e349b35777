import { cycle, cycleWithin, type Edge } from './cycle.js'
import type { HookRecord, Place } from './hook.js'
import { scopeOf } from './scope-state.js'

/** What an edge leads to: all hooks of a name, or one. */
export type Target = string | HookRecord

const NOTHING: readonly never[] = []

/** A hook's place in a stack: a link in the list of its priority. */
export class Hook implements Place {
  prev: Hook = this
  next: Hook = this
  /** In the registry, and not yet called. */
  pending = false
  /** In its stack: not yet called, or not yet over. */
  isThere = false
  /** Where it stands among those that are called and not settled; -1 if it isn't one. */
  openAt = -1
  late?: boolean
  /** Begun by the owner of its scope: what a run that takes over waits for. */
  result?: PromiseLike<unknown>
  /** To be called by that owner where the run came before there was a `result`. */
  onResult?: (result: unknown) => void
  /** What it was last found to wait for: asked first the next time. */
  blocker: { target: Target; hook: Hook } | undefined

  constructor(
    readonly record: HookRecord,
    readonly stack: Stack | undefined,
  ) {}

  remove(): boolean {
    if (!this.stack?.take(this)) return false
    this.stack.settled(this)
    return true
  }
}

/**
 * The hooks of one phase or the members of one scope, in the order in which they run: higher priority first, then
 * newest first, and nothing before what it is to come `after`.
 *
 * Adding and removing are O(1): each priority is a ring of links, newest first. The index of names is made only
 * when the first edge asks for it. Each stack knows which of its edges lead outside, so that nothing is searched for.
 *
 * Edges reach into scopes and out of them. What a member waits for and its own scope doesn't hold, the whole scope
 * waits for; and who waits for a member of a scope beside it, waits for that scope. So each stack orders its own hooks alone.
 */
export class Stack {
  /** One ring for each priority, the highest first. */
  private readonly rings: Hook[] = []
  /** Hooks that are not yet over, by name and by record. */
  private index: Map<Target, Set<Hook>> | undefined
  /** How many edges lead to what: those of hooks here that are not yet called, and those that lead out of scopes here. */
  private wanted: Map<Target, number> | undefined
  /** Of these, what was never here: the scope whose members these are waits for it outside. */
  private outside: Set<Target> | undefined
  /** Names that edges led to, and that are over: they are not looked for outside. */
  private met: Set<Target> | undefined
  /** Scopes that are not yet over. */
  private scopes: Set<Hook> | undefined
  /** Called, and not yet settled; each knows its place in here. */
  private readonly open: Hook[] = []

  /** `owner` is the record of the scope whose members these are. */
  constructor(
    private readonly onSize: (change: 1 | -1, record: HookRecord) => void,
    readonly owner?: HookRecord,
  ) {}

  /** Throws `ERR_EXODOS_CYCLE`, and adds nothing, when an edge closes a cycle. */
  add(record: HookRecord): Hook {
    const hook = new Hook(record, this)
    this.insert(hook)
    try {
      this.refuseCycles(hook)
    } catch (error) {
      this.leave(hook)
      // Ten frames are kept: those that lead here are of less use than the caller's.
      Error.captureStackTrace(error as Error, this.add)
      throw error
    }
    return hook
  }

  /** Puts a hook before all others of its priority, or back to where it was before `next`. */
  insert(hook: Hook, next?: Hook): void {
    const { record } = hook
    const ring = this.ringOf(record.priority)
    const at = next === undefined ? ring.next : next.pending ? next : ring
    hook.prev = at.prev
    hook.next = at
    at.prev.next = hook
    at.prev = hook
    hook.pending = hook.isThere = true
    const scope = scopeOf(record)
    if (scope) {
      this.scopes ??= new Set()
      this.scopes.add(hook)
    }
    if (this.index) this.addToIndex(hook)
    this.found(record)
    if (record.after) for (const target of record.after) this.want(target, 1)
    if (scope?.members.outside) for (const target of scope.members.outside) this.want(target, 1)
    this.onSize(1, record)
  }

  /** Takes a hook off as if it had never been here: for one that goes elsewhere. Returns what it stood before. */
  leave(hook: Hook): Hook {
    const { next } = hook
    this.take(hook)
    this.forget(hook)
    for (let stack: Stack | undefined = this; stack; stack = stack.around)
      for (const target of stack.wanted?.keys() ?? []) stack.lookOutside(target)
    return next
  }

  /** Takes off the hooks of a name that have not been called yet, but for one; no scopes and resources, which would not be closed then. */
  removeNamed(name: string, except: Hook): void {
    for (const hook of [...this]) if (hook.record.name === name && hook !== except && !hook.record.brief) hook.remove()
  }

  /** Has no hook that is still to be called. */
  get isEmpty(): boolean {
    return this.rings.every((ring) => ring.next === ring)
  }

  /** Takes a hook off the list, before it is called: re-entry can't call it twice. False if it wasn't there any more. */
  take(hook: Hook): boolean {
    if (!hook.pending) return false
    hook.pending = false
    const { after } = hook.record
    if (after) for (const target of after) this.want(target, -1)
    hook.prev.next = hook.next
    hook.next.prev = hook.prev
    const isLast = hook.prev === hook.next
    // Whoever keeps a registration must not keep what was registered after it.
    hook.prev = hook.next = hook
    hook.blocker = undefined
    // Priorities may be as many as hooks ever were: no ring outlives its last hook, but for the usual one.
    if (isLast && hook.record.priority !== 0) this.rings.splice(this.placeOf(hook.record.priority), 1)
    this.onSize(-1, hook.record)
    return true
  }

  /** The next hook that waits for no other one, taken off; undefined when there is none, or none that may start yet. */
  shift(leaving: boolean): Hook | undefined {
    let blocked: Hook | undefined
    for (const ring of this.rings) {
      for (let hook = ring.next; hook !== ring; hook = hook.next) {
        if (!leaving && hook.record.orphan) continue
        if (this.isBlocked(hook)) blocked ??= hook
        else return this.taken(hook)
      }
    }
    // Edges can't close a cycle; should a foreign copy's ever do so, running one of them beats waiting for ever.
    return blocked && this.open.length === 0 ? this.taken(blocked) : undefined
  }

  /** The hook was called and has not settled yet: what is to come after it waits. */
  opened(hook: Hook): void {
    if (hook.openAt === -1) hook.openAt = this.open.push(hook) - 1
    if (this.index) this.addToIndex(hook)
  }

  /** The hooks that are called and not settled. */
  get running(): Hook[] {
    return [...this.open]
  }

  /** The hook is over: what is to come after it may start. */
  settled(hook: Hook): void {
    this.forget(hook)
    const { name } = hook.record
    for (let stack: Stack | undefined = this; stack?.owner; stack = stack.around)
      if (stack.wanted?.has(name)) stack.met = (stack.met ?? new Set()).add(name)
  }

  private forget(hook: Hook): void {
    if (hook.openAt !== -1) {
      const last = this.open.pop() as Hook
      if (last !== hook) this.open[hook.openAt] = last
      last.openAt = hook.openAt
      hook.openAt = -1
    }
    const scope = scopeOf(hook.record)
    if (scope && hook.isThere) {
      this.scopes?.delete(hook)
      if (scope.members.outside) for (const target of scope.members.outside) this.want(target, -1)
    }
    hook.isThere = false
    if (!this.index) return
    for (const key of [hook.record.name, hook.record]) {
      const hooks = this.index.get(key)
      if (hooks?.delete(hook) && hooks.size === 0) this.index.delete(key)
    }
  }

  /** To be begun anew when something else is taken off meanwhile than the one it is at. */
  *[Symbol.iterator](): Generator<Hook> {
    for (const ring of this.rings) {
      for (let hook = ring.next, next: Hook; hook.pending; hook = next) {
        next = hook.next
        yield hook
      }
    }
  }

  /** Is there a hook to which an edge leads, here or in a scope in here? */
  has(target: Target): boolean {
    return !this.outside?.has(target) && !this.carriers(target).next().done
  }

  /** Where the edges of members lead that have never led to anything in here. */
  get unmet(): Iterable<Target> {
    return this.outside ?? NOTHING
  }

  /** The hooks that a hook waits for, each with the edge that leads there. */
  *waitsFor(hook: Hook): Generator<{ target: Target; hook: Hook }> {
    for (const target of targets(hook.record))
      for (const carrier of this.carriers(target)) if (carrier !== hook) yield { target, hook: carrier }
  }

  private *carriers(target: Target): Generator<Hook> {
    const index = this.index ?? this.makeIndex()
    yield* index.get(target) ?? []
    for (const hook of this.scopes ?? []) if (scopeOf(hook.record)?.members.has(target)) yield hook
  }

  private isBlocked(hook: Hook): boolean {
    const { record, blocker } = hook
    if (!record.after && !scopeOf(record)) return false
    if (blocker && (blocker.hook.pending || blocker.hook.openAt !== -1) && carries(blocker.hook.record, blocker.target))
      return true
    const found = this.waitsFor(hook).next().value
    // An edge of a scope's member may be met within the scope the next time.
    hook.blocker = found && record.after?.includes(found.target) ? found : undefined
    return found !== undefined
  }

  private taken(hook: Hook): Hook {
    this.take(hook)
    return hook
  }

  /** The ring of a priority, made if it is the first of it. */
  private ringOf(priority: number): Hook {
    const at = this.placeOf(priority)
    const there = this.rings[at]
    if (there?.record.priority === priority) return there
    const ring = new Hook({ priority } as HookRecord, undefined)
    if (at === this.rings.length) this.rings.push(ring)
    else this.rings.splice(at, 0, ring)
    return ring
  }

  /** Where the ring of a priority is, or would be. */
  private placeOf(priority: number): number {
    let low = 0
    let high = this.rings.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.rings[middle] as Hook).record.priority > priority) low = middle + 1
      else high = middle
    }
    return low
  }

  private makeIndex(): Map<Target, Set<Hook>> {
    this.index = new Map()
    for (const hook of [...this, ...this.open]) this.addToIndex(hook)
    return this.index
  }

  private addToIndex(hook: Hook): void {
    const { name } = hook.record
    if (this.index?.get(hook.record)?.has(hook)) return
    for (const key of [name, hook.record]) {
      const hooks = this.index?.get(key)
      if (hooks) hooks.add(hook)
      else this.index?.set(key, new Set([hook]))
    }
  }

  private want(target: Target, change: 1 | -1): void {
    this.wanted ??= new Map()
    const count = (this.wanted.get(target) ?? 0) + change
    if (count > 0) this.wanted.set(target, count)
    else this.wanted.delete(target)
    if (count === 1) this.lookOutside(target)
    if (count === 0 && this.outside?.delete(target)) this.around?.want(target, -1)
  }

  private lookOutside(target: Target): void {
    if (!this.owner || this.outside?.has(target) || this.met?.has(target) || this.has(target)) return
    this.outside ??= new Set()
    this.outside.add(target)
    this.around?.want(target, 1)
  }

  /** Something has come that edges may have led outside for: here, or in a scope in here. */
  private found(record: HookRecord): void {
    const { name } = record
    const scope = scopeOf(record)
    for (let stack: Stack | undefined = this; stack?.owner; stack = stack.around) {
      if (!stack.outside) continue
      const targets = scope
        ? [...stack.outside].filter((target) => target === name || target === record || scope.members.has(target))
        : [name]
      for (const target of targets) if (stack.outside.delete(target)) stack.around?.want(target, -1)
    }
  }

  /** The stack that the scope stands in whose members these are. */
  private get around(): Stack | undefined {
    const place = this.owner?.place as Hook | undefined
    return place?.isThere ? place.stack : undefined
  }

  /** A new hook brings edges, and a name that others wait for: to its own stack, and to those around it. */
  private refuseCycles(hook: Hook): void {
    const { name, after } = hook.record
    const scope = scopeOf(hook.record)
    // Nobody has had the record of a new plain hook: only its name can lead back to it.
    const isAwaited = () => after?.includes(name) || this.wanted?.has(name)
    if (scope ? after || scope.members.outside?.size : after && isAwaited()) this.refuseCycle(hook)
    for (let stack: Stack = this; stack.owner; ) {
      if (after?.includes(stack.owner)) throw cycleWithin(hook.record, stack.owner)
      const around = stack.owner.place as Hook | undefined
      if (!around?.stack) return
      if (around.record.after || stack.outside?.size) around.stack.refuseCycle(around)
      stack = around.stack
    }
  }

  /** Follows the edges from a hook on. */
  private refuseCycle(start: Hook): void {
    const cameFrom = new Map<Hook, Edge | undefined>([[start, undefined]])
    const { name, after, replace } = start.record
    for (const from of cameFrom.keys()) {
      // What has been called waits for nothing any more.
      for (const target of from.pending ? targets(from.record) : []) {
        for (const to of this.carriers(target)) {
          // A member may name others that are called as its own scope is; to wait for that scope itself it may not.
          const others = from === start && typeof target === 'string' && !after?.includes(target)
          if (to === start && !others) throw cycle({ from, target, to }, cameFrom)
          // What is about to be replaced leads nowhere.
          const replaced = replace && to.record.name === name
          if (!replaced && !cameFrom.has(to)) cameFrom.set(to, { from, target, to })
        }
      }
    }
  }
}

/** Where the edges of a hook lead, with those of a scope's members that lead out of it. */
function* targets(record: HookRecord): Generator<Target> {
  const { after } = record
  const scope = scopeOf(record)
  // A scope that its owner is closing has begun, too.
  if (scope && scope.status !== 'open') return
  if (after) yield* after
  if (scope) yield* scope.members.unmet
}

function carries(record: HookRecord, target: Target): boolean {
  return record === target || record.name === target || scopeOf(record)?.members.has(target) === true
}
