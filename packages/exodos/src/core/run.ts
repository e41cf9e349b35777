import { Call, type CallStatus, Context, describe } from './call.js'
import { BEAT, Budget, type Clock } from './deadline.js'
import { Group } from './group.js'
import {
  enter,
  type HookContext,
  type HookFunction,
  type HookRecord,
  hookName,
  isAsyncFunction,
  PHASES,
  type Phase,
  type Reason,
} from './hook.js'
import type { Hook } from './order.js'
import { stateOf } from './report.js'
import type { RootScope } from './root.js'
import { type ScopeState, scopeOf } from './scope-state.js'
import { isThenable } from './work.js'

/** What a run needs of the world around it. */
export interface RunEnv {
  readonly clock: Clock
  /** Calls a hook such that code it leads to, however late, can be traced back to it. */
  readonly within: (call: Call, fn: HookFunction, ctx: HookContext) => unknown
  /** Is this what `process.exit` throws to unwind its caller? */
  isExitRequest(error: unknown): boolean
  /** Tells observers; undefined while there are none. */
  publish: ((subject: 'phase' | 'hook', event: 'start' | 'end' | 'asyncEnd' | 'error', context: object) => void) | undefined
  /** Called when the run does something else than before: calls a hook, waits, is forced, is over. */
  onStep(run: Run): void
  /** Called once, when the last phase is over. */
  onEnd(run: Run): void
}

/** Of the hooks that a run waits for, so many are named: this text is made at every step. */
const MOST_NAMED = 3
/** So many hooks of a run are told with the place of their registration: to format it takes some 20 µs. */
const MOST_PLACED = 100

/**
 * One way out: phase by phase, each hook called once, the members of a scope where the scope stands.
 *
 * It goes on synchronously until a hook returns a promise; from then on it is driven by the hooks' settling and by
 * the beats of its budget. `cut` ends it synchronously at any moment.
 */
export class Run {
  readonly calls: Call[] = []
  readonly reasons: Reason[]
  /** Errors that no hook returned or threw: from timers, events and forgotten promises during the run. */
  readonly errors: { error: unknown; hook: string | undefined }[] = []
  readonly warnings: string[] = []
  readonly phaseTimes: { name: Phase; begin: number; end: number }[] = []
  readonly startedAt = Date.now()
  forced = false
  ended = false
  /** Where the loop can't turn: what is not synchronous is not started any more. */
  isCut = false
  leaving = false
  readonly budget: Budget
  private readonly open = new Map<Call, Hook>()
  /** The phase under way. */
  private root: Group | undefined
  /** The scopes under way, in the order in which they were entered. */
  private readonly entered = new Set<Group>()
  /** In which something may start. */
  private readonly ready = new Set<Group>()
  /** The hook that is being called at this moment. */
  private calling: Call | undefined
  /** A hook has returned a promise. */
  private hasWaited = false
  private index = -1
  private advancing = false
  private stopBeat: (() => void) | undefined
  private nextBeat = Number.POSITIVE_INFINITY

  constructor(
    private readonly scope: RootScope,
    private readonly env: RunEnv,
    reason: Reason,
    grace: number,
  ) {
    this.reasons = [reason]
    this.budget = new Budget(env.clock, grace)
  }

  get phase(): Phase | undefined {
    return PHASES[this.index]
  }

  /** Starts the run, and ends it before it returns if all its hooks are synchronous. */
  start(): void {
    this.nextPhase()
    this.advance()
  }

  /** Is a phase under way, or over? */
  hasBegun(phase: Phase): boolean {
    return PHASES.indexOf(phase) <= this.index
  }

  /** Where a hook goes that is registered now: its own phase, or the current one if that is over. */
  phaseFor(record: HookRecord): Phase {
    const current = this.phase as Phase
    if (PHASES.indexOf(record.phase) >= this.index) return record.phase
    this.warnings.push(`${hookName(record)} was registered for ${record.phase} when that was over: it runs in ${current}`)
    return current
  }

  /** Goes on soon: a hook was registered while the run is under way, in the current phase or in a scope. */
  wake(group = this.root): void {
    if (group) this.ready.add(group)
    if (!this.advancing) Promise.resolve().then(() => this.advance())
  }

  /** Aborts every signal and leaves only the reserve. */
  force(): void {
    if (this.forced || this.ended) return
    this.forced = true
    this.budget.force()
    for (const call of this.open.keys()) {
      const now = this.budget.spent()
      call.deadline = Math.min(call.deadline, now + this.limitFor(call.record, call.group, now))
      call.abort('the run was forced')
    }
    this.rearm()
    this.stepped()
  }

  /** The event loop will not turn again: ends the run now, with what can be done synchronously. */
  cut(): void {
    if (this.ended || this.isCut) return
    this.isCut = true
    if (!this.phase) this.nextPhase()
    this.giveUp('cut', 'the event loop ended')
    // Called from inside a hook, control may never come back to the loop below: this one finishes its work, the
    // innermost scope first.
    this.ready.clear()
    for (const group of [...this.entered].reverse()) this.ready.add(group)
    if (this.root) this.ready.add(this.root)
    this.advancing = false
    this.advance()
  }

  /** Records an error from outside any hook's own result. */
  fail(error: unknown, call: Call | undefined): void {
    this.errors.push({ error, hook: call && hookName(call.record) })
  }

  /** Has the run turned asynchronous, and is it the program's own code that may keep the event loop now? */
  get isOthersTurn(): boolean {
    if (!this.hasWaited) return false
    if (this.calling) return !this.calling.record.isOwn
    for (const { record } of this.open.keys()) if (!record.isOwn) return true
    return false
  }

  /** What it is doing, in the words that a hang is reported in. */
  get step(): string {
    const withPlace = this.calls.length <= MOST_PLACED
    if (this.calling) return `${this.phase} hook ${describe(this.calling, withPlace)}`
    const waiting: string[] = []
    for (const call of this.open.keys()) if (waiting.push(describe(call, withPlace)) === MOST_NAMED) break
    if (waiting.length === 0) return this.ended ? "leaving: listeners of 'exit', the last output" : `phase ${this.phase}`
    const more = this.open.size > waiting.length ? ` and ${this.open.size - waiting.length} more` : ''
    return `phase ${this.phase}, waiting for hook ${waiting.join(', ')}${more}`
  }

  get failed(): boolean {
    return this.errors.length > 0 || this.calls.some((call) => call.status === 'failed' || call.status === 'overdue')
  }

  /** Is there nothing that anybody should be told about? */
  get clean(): boolean {
    const quiet = !this.forced && this.errors.length === 0 && this.warnings.length === 0
    return quiet && this.calls.every((call) => call.status === 'ok')
  }

  /** Tells the watchdog that what `step` says has changed. */
  stepped(): void {
    this.env.onStep(this)
  }

  private advance(): void {
    if (this.advancing || this.ended) return
    this.advancing = true
    try {
      // It finds what is added meanwhile.
      for (const group of this.ready) {
        this.ready.delete(group)
        this.startReady(group)
        if (this.ended) return
        if (group.open === 0) this.close(group)
      }
      if (this.open.size > 0 && !this.stopBeat) this.rearm()
    } finally {
      this.advancing = false
    }
  }

  /** Calls what may start now: all of it in parallel groups, else one at a time. */
  private startReady(group: Group): void {
    for (;;) {
      if (!group.parallel && group.open > 0 && (group.scopes > 0 || this.left(group, this.budget.spent()) > 0)) return
      const hook = group.stack.shift(this.leaving)
      if (!hook) return
      const scope = scopeOf(hook.record)
      if (scope) this.enter(hook, scope, group)
      else this.call(hook, group)
      if (this.ended) return
      if (this.isCut) this.giveUp('cut', 'the event loop ended')
    }
  }

  /** Begins to close the members of a scope. Of one that its owner is closing it takes over what has begun, and the rest. */
  private enter(hook: Hook, scope: ScopeState, group: Group): void {
    const now = this.budget.spent()
    const deadline = Math.min(group.deadline, now + (hook.record.timeout ?? Number.POSITIVE_INFINITY))
    const inner = new Group(scope.members, scope.parallel, deadline, { group, hook, scope })
    group.open++
    group.scopes++
    group.stack.opened(hook)
    this.entered.add(inner)
    this.ready.add(inner)
    scope.isTaken = scope.status === 'open'
    scope.status = 'closing'
    scope.isInRun = true
    scope.onAdd = () => this.wake(inner)
    for (const begun of scope.members.running) {
      const within = scopeOf(begun.record)
      if (within) this.enter(begun, within, inner)
      else this.join(begun, inner)
    }
  }

  /** Waits for what the owner of a scope has begun. */
  private join(hook: Hook, group: Group): void {
    // Its owner is calling it at this moment, and may get a promise.
    hook.result ??= new Promise((resolve) => {
      hook.onResult = resolve
    })
    const call = this.begin(hook.record, group)
    this.env.publish?.('hook', 'start', this.seen(call))
    if (this.isCut) this.settle(call, hook, 'cut')
    else this.await(call, hook, hook.result)
  }

  /** All of a group is over: goes on around it. */
  private close(group: Group): void {
    const { inside } = group
    this.ready.delete(group)
    if (!inside) {
      this.nextPhase()
      return
    }
    this.entered.delete(group)
    inside.scope.end()
    inside.group.stack.settled(inside.hook)
    inside.group.open--
    inside.group.scopes--
    this.ready.add(inside.group)
  }

  private begin(record: HookRecord, group: Group): Call {
    const call = new Call(this, record, this.phase as Phase, group, this.budget.spent())
    this.calls.push(call)
    const limit = this.limitFor(record, group, call.begin)
    call.deadline = call.begin + limit
    if (this.forced || limit <= 0) call.abort(this.forced ? 'the run was forced' : 'no time is left')
    return call
  }

  private call(hook: Hook, group: Group): void {
    const { record } = hook
    const call = this.begin(record, group)
    const fn = this.isCut ? synchronous(record) : record.fn
    if (!fn) {
      call.started = false
      this.settle(call, hook, 'cut')
      return
    }
    this.env.publish?.('hook', 'start', this.seen(call))
    this.calling = call
    this.stepped()
    try {
      const result = enter(record, this.env.within, call, fn, new Context(call))
      if (isThenable(result)) this.await(call, hook, result)
      else this.settle(call, hook, 'ok')
    } catch (error) {
      this.settle(call, hook, this.env.isExitRequest(error) ? 'ok' : 'failed', error)
    }
  }

  private await(call: Call, hook: Hook, result: PromiseLike<unknown>): void {
    this.hasWaited = true
    this.open.set(call, hook)
    call.group.open++
    this.calling = undefined
    this.stepped()
    call.group.stack.opened(hook)
    if (call.deadline < this.nextBeat) this.rearm()
    this.env.publish?.('hook', 'end', this.seen(call))
    const done = (status: 'ok' | 'failed', error?: unknown) => {
      if (call.status !== 'running') {
        call.late ??= status
        call.error ??= error
        return
      }
      this.settle(call, hook, status, error)
      this.advance()
    }
    new Promise((resolve) => resolve(result)).then(
      () => done('ok'),
      (error) => done(this.env.isExitRequest(error) ? 'ok' : 'failed', error),
    )
  }

  private settle(call: Call, hook: Hook, status: CallStatus, error?: unknown): void {
    const waited = this.open.size > 0 && this.open.delete(call)
    this.calling = undefined
    call.status = status
    call.end = this.budget.spent()
    if (status === 'failed') call.error = error
    call.group.stack.settled(hook)
    if (waited) {
      call.group.open--
      this.ready.add(call.group)
      this.stepped()
    }
    if (!this.env.publish) return
    if (status !== 'ok') this.env.publish('hook', 'error', this.seen(call))
    this.env.publish('hook', waited ? 'asyncEnd' : 'end', this.seen(call))
  }

  /** Stops waiting for all that is open. */
  private giveUp(status: 'overdue' | 'cut', why: string, which: (call: Call) => boolean = () => true): void {
    for (const [call, hook] of [...this.open]) {
      if (!which(call)) continue
      call.state = stateOf(call.record)
      this.settle(call, hook, status)
      call.abort(why)
    }
  }

  private nextPhase(): void {
    const now = this.budget.spent()
    const last = this.phaseTimes.at(-1)
    if (last) {
      last.end = now
      this.env.publish?.('phase', 'end', last)
    }
    this.index++
    if (!this.phase) {
      this.end()
      return
    }
    // In `release` one hook after another, newest first; all together in the other phases.
    this.root = new Group(this.scope.stack(this.phase), this.phase !== 'release', Number.POSITIVE_INFINITY)
    this.ready.add(this.root)
    const next = { name: this.phase, begin: now, end: now }
    this.phaseTimes.push(next)
    this.env.publish?.('phase', 'start', next)
  }

  private end(): void {
    this.ended = true
    this.stopBeat?.()
    this.stepped()
    this.env.onEnd(this)
  }

  /** Milliseconds that a group may still use. */
  private left({ deadline }: Group, now: number): number {
    const end = this.budget.end(this.phase as Phase, (later) => !this.scope.stack(later).isEmpty)
    return Math.max(0, Math.min(end, deadline) - now)
  }

  /** A hook's own timeout, but never more than its group may still use; in `release` without one, half of that. */
  private limitFor(record: HookRecord, group: Group, now: number): number {
    const left = this.left(group, now)
    if (record.timeout !== undefined) return Math.min(record.timeout, left)
    return this.phase === 'release' ? left / 2 : left
  }

  /** Waits for the next beat, or for the next limit if that comes earlier. */
  private rearm(): void {
    this.stopBeat?.()
    const now = this.budget.spent()
    this.nextBeat = now + BEAT
    for (const call of this.open.keys()) {
      // Hooks that came meanwhile have given a later phase a share: only a lease goes beyond it.
      if (!call.extended) call.deadline = Math.min(call.deadline, now + this.left(call.group, now))
      this.nextBeat = Math.min(this.nextBeat, call.deadline)
    }
    const wait = this.nextBeat - now
    // With no time left, what settles by itself in one turn of the loop is still not overdue.
    this.stopBeat = wait > 0 ? this.env.clock.wait(wait, () => this.beat()) : this.env.clock.soon(() => this.beat())
  }

  private beat(): void {
    this.stopBeat = undefined
    this.nextBeat = Number.POSITIVE_INFINITY
    if (this.ended || this.isCut) return
    const now = this.budget.beat()
    this.giveUp('overdue', 'its time is up', (call) => call.deadline <= now)
    this.advance()
  }

  private seen(call: Call): object {
    return { name: hookName(call.record), phase: call.phase, status: call.status, error: call.error, reason: this.reasons[0] }
  }
}

/** What of a hook may be called where the loop can't turn: itself, its stand-in, or nothing. */
function synchronous(record: HookRecord): HookRecord['fn'] | undefined {
  if (typeof record.sync === 'function') return record.sync
  if (record.sync === true) return record.fn
  return record.sync === false || isAsyncFunction(record.fn) ? undefined : record.fn
}
