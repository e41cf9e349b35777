import type { Call } from '../core/call.js'
import type { Clock } from '../core/deadline.js'
import { ExodosError } from '../core/errors.js'
import { type Plan, plan } from '../core/explain.js'
import { type HookRecord, hookName, PHASES, type Place, type Reason } from '../core/hook.js'
import { describeRun, type Report } from '../core/report.js'
import { RootScope } from '../core/root.js'
import { Run } from '../core/run.js'
import type { TrackStats } from '../core/work.js'
import { publisher } from './channels.js'
import { currentCall, inRootContext, within } from './context.js'
import { isExitRequest, requests } from './exit-request.js'
import type { Policy } from './policy.js'
import { signalNumber } from './signals.js'

/** How the process is to leave, decided when the run is over. */
export interface Outcome {
  readonly kind: Reason['kind']
  readonly code: number
  readonly signal?: string
  readonly error?: unknown
  /** A rule of ours has changed exit code 0. */
  readonly raised: boolean
}

/** What a coordinator needs of the thread it coordinates; tests give it a private one. */
export interface Platform {
  readonly clock: Clock
  readonly thread: number
  readonly pid: number
  /** `process.exitCode`: what the program has set so far. */
  exitCode: number | undefined
  /** Brings listeners and patches in line with the policy; called at every registration, so cheap when nothing is to do. */
  install(): void
  uninstall(): void
  /** Uninstalls unless a hook comes soon: whoever has one for each request has many that are the last one. */
  retire(): void
  /** Hands over the order in which a run that leaves is about to close, for whoever is debugging. */
  tellOrder(plan: () => Plan): void
  /** Told what a run is doing, each time it does something else; undefined when the process has survived it. */
  watch(run: Run | undefined): void
  /** Hands the report to whoever wants one, before leaving. */
  deliver(report: () => Report, clean: boolean, policy: Policy): void
  /** Ends the process. `survived` is called when it doesn't: somebody has replaced the real exit. */
  leave(outcome: Outcome, limit: number, survived: () => void): void
  reallyExit(code: number): void
  printError(error: unknown, policy: Policy): void
  warn(message: string): void
}

/** What a trigger sees of the coordinator. */
export interface WayOut {
  /** The application has a say here, so the full rules hold; else there are only libraries' hooks. */
  readonly host: boolean
  /** There is more than what `exodos/register` has found in a program that knows nothing of us: its child processes. */
  readonly decides: boolean
  /** Nothing is registered, and no run is under way: all is as if we weren't here. */
  readonly idle: boolean
  /** A run is under way. */
  readonly running: boolean
  /** A run that ends in leaving is under way, or over. */
  readonly leaving: boolean
  /** What that run was for, once it is over and in its report: the last output may still be on its way. */
  readonly over: Reason['kind'] | undefined
  /** The exit code, as far as it is known. */
  readonly code: number
  /** The same, but 0 where only a rule of ours has made it a failure. */
  readonly asked: number
  readonly policy: Policy
  /** The hook of the run under way whose code this is, also in what it awaits or has started. */
  readonly call: Call | undefined
  /** Begins the run, or adds a reason to the one under way. `most`: somebody waits no longer, in milliseconds. */
  leave(reason: Reason, most?: number): void
  /** The event loop ends now: does what can be done synchronously. */
  cut(reason: Reason): void
  /** Leaves only the reserve. */
  force(): void
  /** The application has taken a signal upon itself. */
  leaveToApp(signal: string): void
  /** Records an error of the run under way, and of its hook where that is known. */
  fail(error: unknown): void
  printError(error: unknown): void
  reallyExit(code: number): void
}

/** One way in which a process comes to its end: one file each. */
export interface Trigger {
  install(): void
  uninstall(): void
}

/** What survives a take-over by another copy of exodos. */
export interface Shared {
  /** Aborted when leaving begins. */
  readonly exiting: AbortController
  readonly realm: unknown
  host: boolean
  /** Not only because of `exodos/register`. */
  decides?: boolean
  policy: Policy
  /** The last signal that the application has taken upon itself, and when, by the clock. */
  heard?: { readonly signal: string; readonly at: number }
  places: Map<string, string>
  work?: TrackStats
  /** Errors that come of what the run itself has done, as of a child process that it has ended. */
  isExpected?: (error: unknown) => boolean
}

/** What copies and versions of exodos know of each other's coordinator. Plain data and functions, only ever added to. */
export interface CoordinatorProtocol {
  readonly protocol: number
  /** Registers the hook, and sets the record's `place`. */
  add(record: HookRecord): Place
  /** All that is registered for `release` and later, in the order in which it would run but for edges. */
  records(): Iterable<HookRecord>
  /** What a run would do now. */
  explain(): Plan
  /** The hook of the run under way whose code this is. */
  readonly call: Call | undefined
  run(reason: Reason): Promise<Report>
  /** A run that ends in leaving is under way, or over. */
  readonly leaving: boolean
  /** The application has come, and may bring a policy. `isFound`: it doesn't know of us. */
  adopt(policy?: Policy, isFound?: boolean): void
  readonly state: Shared
  /** Gives up all hooks, listeners and patches; undefined while a run is under way. */
  detach(): HookRecord[] | undefined
}

/** The one object of a process or worker thread that all hooks, of all copies of exodos, are registered with. */
export class Coordinator implements CoordinatorProtocol, WayOut {
  static readonly protocol = 1
  readonly protocol = Coordinator.protocol
  private readonly platform: Platform
  private readonly scope = new RootScope((last) => this.settleDown(last))
  private current: Run | undefined
  /** For those who asked for the run under way, or over; made when somebody does. */
  private waiting: { promise: Promise<Report>; resolve(report: Report): void; reject(error: unknown): void } | undefined
  /** The reason of leaving; the run may have begun without one. */
  private reason: Reason | undefined
  private raised: number | undefined
  /** What to put back if the process survives. */
  private codeBefore: number | undefined
  /** How the process leaves, once the run is over: nothing can be registered any more. */
  private left: Outcome | undefined

  constructor(
    makePlatform: (out: WayOut) => Platform,
    readonly state: Shared,
  ) {
    this.platform = makePlatform(this)
  }

  get host(): boolean {
    return this.state.host
  }
  get decides(): boolean {
    if (this.state.decides || !this.host) return this.host
    for (const phase of PHASES) for (const { record } of this.scope.stack(phase)) if (!record.isOwn) return true
    return false
  }
  get policy(): Policy {
    return this.state.policy
  }
  get idle(): boolean {
    return !this.current && this.scope.size === 0
  }
  get running(): boolean {
    return this.current !== undefined
  }
  get leaving(): boolean {
    return this.reason !== undefined
  }
  get call(): Call | undefined {
    const call = currentCall()
    return call && call.run === this.current ? call : undefined
  }
  get over(): Reason['kind'] | undefined {
    return this.left?.kind
  }

  /** Throws `ERR_EXODOS_CLOSED` once the process has left, `ERR_EXODOS_CYCLE` for edges that close a cycle. */
  add(record: HookRecord): Place {
    if (this.left) {
      const message = `the exit hooks have run and the process is leaving: ${hookName(record)} would never be called`
      throw new ExodosError('ERR_EXODOS_CLOSED', message)
    }
    if (record.timeout !== undefined && record.timeout > this.policy.grace) {
      const name = hookName(record)
      this.platform.warn(`options.timeout of ${name} is ${record.timeout} ms, above the grace period of ${this.policy.grace} ms`)
    }
    const run = this.current?.ended ? undefined : this.current
    const hook = this.scope.add(record, run?.phaseFor(record))
    record.place = hook
    if (run?.leaving && run.hasBegun(record.phase) && !this.call) hook.late = true
    run?.wake()
    if (!record.guest) this.state.host = this.state.decides = true
    this.platform.install()
    return hook
  }

  *records(): Iterable<HookRecord> {
    for (const phase of PHASES.slice(PHASES.indexOf('release'))) for (const { record } of this.scope.stack(phase)) yield record
  }

  explain(): Plan {
    return plan(this.scope)
  }

  adopt(policy?: Policy, isFound = false): void {
    this.state.host = true
    if (!isFound) this.state.decides = true
    if (policy) this.state.policy = policy
    if (this.scope.size > 0) this.platform.install()
  }

  /** A run that the application asks for. All who ask during it get the same promise; a hook that waits for its own run is told so. */
  run(reason: Reason): Promise<Report> {
    this.adopt()
    const { call } = this
    if (!this.current) this.waiting = undefined
    this.waiting ??= deferred()
    const { promise } = this.waiting
    this.leave(reason)
    if (!call) return promise
    const message = `hook ${hookName(call.record)} waits for the run that it is part of`
    const refused = Promise.reject(new ExodosError('ERR_EXODOS_SELF_WAIT', message))
    // Only who waits for it is to hear of it.
    refused.catch(() => {})
    return refused
  }

  leave(reason: Reason, most?: number): void {
    if (this.left) return
    if (this.current) this.join(this.current, reason)
    else inRootContext(() => this.begin(reason, most).start())
  }

  cut(reason: Reason): void {
    if (this.left || (!this.current && this.scope.size === 0)) return
    if (this.current) this.join(this.current, reason)
    else this.begin(reason)
    if (this.reason?.kind === 'natural' || this.reason?.kind === 'parent') this.raised ??= reason.code || undefined
    this.current?.cut()
  }

  force(): void {
    this.current?.force()
  }

  leaveToApp(signal: string): void {
    this.state.heard = { signal, at: this.platform.clock.now() }
  }

  fail(error: unknown): void {
    if (!isExitRequest(error) && !this.state.isExpected?.(error)) this.current?.fail(error, this.call)
  }

  printError(error: unknown): void {
    this.platform.printError(error, this.policy)
  }

  reallyExit(code: number): void {
    this.platform.reallyExit(code)
  }

  detach(): HookRecord[] | undefined {
    if (this.current || this.left) return undefined
    const records = this.scope.detach()
    this.platform.uninstall()
    return records
  }

  private begin(reason: Reason, most = Number.POSITIVE_INFINITY): Run {
    const publish = publisher()
    const run = new Run(
      this.scope,
      {
        clock: this.platform.clock,
        within,
        isExitRequest,
        publish,
        onStep: (stepping) => this.platform.watch(stepping),
        onEnd: (ended) => {
          publish?.('run', 'end', { reason })
          this.end(ended)
        },
      },
      reason,
      Math.min(this.policy.grace, most),
    )
    this.current = run
    publish?.('run', 'start', { reason })
    if (reason.kind !== 'explicit') this.leaveWith(run, reason)
    return run
  }

  /** A second reason: the first one of leaving wins, later ones are recorded; a hook may raise exit code 0. */
  private join(run: Run, reason: Reason): void {
    run.reasons.push(reason)
    if (reason.code && this.call) this.raised ??= reason.code
    if (!run.leaving && reason.kind !== 'explicit') this.leaveWith(run, reason)
  }

  private leaveWith(run: Run, reason: Reason): void {
    run.leaving = true
    this.reason = reason
    this.platform.tellOrder(() => this.explain())
    this.codeBefore = this.platform.exitCode
    if (reason.code !== undefined) this.platform.exitCode = reason.code
    // Without the hooks of libraries there may be no listeners yet, and the run needs them while it lasts.
    this.platform.install()
    this.state.exiting.abort()
  }

  private end(run: Run): void {
    const outcome = this.outcome()
    let report: Report | undefined
    const makeReport = () => (report ??= this.report(run, outcome))
    this.left = outcome
    // An application that never asked for exodos isn't told what its libraries' hooks had no time for.
    this.platform.deliver(makeReport, this.host ? run.clean : !run.failed, this.policy)
    const { waiting } = this
    try {
      if (!outcome) this.reset()
      else if (!run.isCut) this.platform.leave(outcome, run.budget.forOutput(), () => this.reset())
    } catch (error) {
      // Somebody has replaced the real exit by a function that throws.
      if (!waiting) throw error
      waiting.reject(error)
    }
    waiting?.resolve(makeReport())
  }

  private report(run: Run, outcome: Outcome | undefined): Report {
    return {
      ...describeRun(run),
      pid: this.platform.pid,
      thread: this.platform.thread,
      exitRequests: { made: requests.made, caught: Math.max(0, requests.made - requests.surfaced) },
      ...(outcome && { exit: outcome.signal && !run.isCut ? { signal: outcome.signal } : { code: outcome.code } }),
    }
  }

  /** A new life: after an explicit run, or an exit that did not happen. */
  private reset(): void {
    if (this.reason) this.platform.exitCode = this.codeBefore
    this.platform.watch(undefined)
    this.current = this.reason = this.raised = undefined
    this.left = undefined
    this.settleDown()
  }

  /** The exit code: one that was asked for is never masked; 0 with a failed hook is a failure. */
  get code(): number {
    return (this.left ?? this.outcome())?.code ?? 0
  }

  get asked(): number {
    const outcome = this.left ?? this.outcome()
    return outcome && !outcome.raised ? outcome.code : 0
  }

  private outcome(): Outcome | undefined {
    const { reason, current } = this
    if (!reason) return undefined
    const { signal } = reason
    // Zero may be changed by hooks, as by listeners of 'exit'.
    const asked = signal ? 128 + signalNumber(signal) : reason.code || Number(this.platform.exitCode ?? 0)
    const code = asked || (this.host ? (this.raised ?? (current?.failed ? this.policy.failureCode : 0)) : 0)
    return { ...reason, code, raised: code !== asked }
  }

  /** The last hook is gone, or the process has survived its exit: nothing of ours stays. */
  private settleDown(last?: HookRecord): void {
    if (!this.idle) return
    if (last?.brief) this.platform.retire()
    else this.platform.uninstall()
  }
}

function deferred<T>(): { promise: Promise<T>; resolve(value: T): void; reject(error: unknown): void } {
  let resolve!: (value: T) => void
  let reject!: (error: unknown) => void
  const promise = new Promise<T>((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
