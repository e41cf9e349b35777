import { clearTimeout, setTimeout } from 'node:timers'
import { exiting } from 'exodos/lib'
import type { CarrierEvents, StartCarrier } from '../carriers/carrier.js'
import type { Closed, Engine, EngineEvents, WorkerStats } from '../engine/engine.js'
import type { Job } from '../engine/job.js'
import type { Settings } from '../engine/options.js'
import { Queue } from '../engine/queue.js'
import { messageOf, PoolError, WorkerDiedError } from '../shared/errors.js'
import { type End, type LeaveReason, Member } from './member.js'
import { Seats } from './seats.js'

/** What a worker is given ahead, so that it has something to do while its results travel. */
export interface Ahead {
  /** Milliseconds of work. */
  readonly work: number
  readonly tasks: number
}
/** Milliseconds without a result after which what lies behind a task is given to a worker that has nothing to do. */
const STUCK = 5
/** So many workers may die before they have begun a task that they were given. */
const MOST_DEATHS = 3
const NO_EXIT = { code: null, signal: null }
/** Tasks that are named in reports. */
const MOST_NAMES = 8
/** In place of a cost that isn't known. */
const LONG = 1e6

/** As it was before a test framework has replaced it. */
const { nextTick } = process

/** Workers of this process: gives them tasks, and settles every task whatever becomes of them. */
export class LocalEngine implements Engine {
  private readonly seats: Seats
  private readonly queue = new Queue()
  /** Of tasks with a key, by the seat that it leads to. */
  private readonly keyed = new Map<number, Queue>()
  private sent = 0
  private isPumpDue = false
  private isBusy = false
  private stuckTimer: NodeJS.Timeout | undefined
  private closing: Error | undefined
  private idlers: (() => void)[] = []
  private waiting: { readonly most: number; readonly resolve: () => void }[] = []
  /** Who waits for the end of each. */
  private readonly leavers = new Map<Member, () => void>()
  private readonly counts = { disposed: 0, rescued: 0, killed: 0, tasksDone: 0, tasksHandedOver: 0 }

  constructor(
    private readonly settings: Settings,
    private readonly start: StartCarrier,
    private readonly events: EngineEvents,
    private readonly output: CarrierEvents['output'],
    private readonly ahead: Ahead,
    /** Called when all workers have left. */
    private readonly release = async () => {},
  ) {
    this.seats = new Seats(
      settings,
      (number, seat) => this.makeMember(number, seat),
      (error) => {
        for (const job of this.allQueued()) job.reject(error)
      },
      () => this.pump(),
    )
    this.seats.fill(0, [])
    this.tellBusy()
  }

  get ready(): Promise<void> {
    return this.seats.ready
  }

  private get members(): readonly Member[] {
    return this.seats.members
  }

  get queued(): number {
    let queued = this.queue.length
    for (const queue of this.keyed.values()) queued += queue.length
    for (const { own } of this.members) queued += own.length
    return queued
  }

  get running(): number {
    return this.sent
  }

  submit(job: Job): void {
    const refusal = this.closing ?? this.seats.broken
    if (refusal) {
      job.reject(refusal)
      return
    }
    job.home = this.queueFor(job.key)
    job.home.push(job)
    if (!this.isBusy) this.tellBusy()
    this.pumpSoon()
  }

  broadcast(make: () => Job): void {
    if (this.closing ?? this.seats.broken) {
      this.submit(make())
      return
    }
    const members = this.members.filter(({ state }) => state === 'starting' || state === 'ready')
    // They are being replaced.
    if (members.length === 0 && this.members.length > 0) this.submit(make())
    for (const member of members) {
      const job = make()
      job.home = member.own
      member.own.push(job)
    }
    this.pumpSoon()
  }

  abort(job: Job, reason: unknown): void {
    const { state } = job
    job.reject(reason)
    if (state === 'queued') job.home?.forget()
    else for (const member of this.members) member.abort(job, reason)
    this.pumpSoon()
  }

  idle(): Promise<void> {
    return this.isBusy ? new Promise((resolve) => this.idlers.push(resolve)) : Promise.resolve()
  }

  get backlog(): number {
    const busy = this.members.filter(({ state, isIdle }) => state === 'leaving' || !isIdle).length
    return Math.max(0, this.queued - (this.settings.max - busy))
  }

  room(most: number): Promise<void> {
    if (this.backlog < most || this.closing) return Promise.resolve()
    return new Promise((resolve) => this.waiting.push({ most, resolve }))
  }

  async close(error: Error, dispose: number, margin?: number): Promise<Closed> {
    this.closing = error
    clearTimeout(this.stuckTimer)
    this.seats.close(error)
    for (const job of this.allQueued()) this.handOver(job, error)
    for (const member of this.members) {
      member.takeBack()
      for (const job of member.sent) this.abort(job, leftBehind(error, job, member.knows(job)))
    }
    const ended = this.members.map((member) => new Promise<void>((resolve) => this.leavers.set(member, resolve)))
    for (const member of this.members) member.leave('close', dispose, margin)
    for (const { resolve } of this.waiting.splice(0)) resolve()
    await Promise.all(ended)
    await this.release()
    return { ...this.counts }
  }

  closeSync(): void {
    for (const member of this.members) member.carrier.disposeSync()
  }

  workers(): WorkerStats[] {
    return this.members.map(({ number, state, carrier, sent, done }) => ({
      worker: number,
      state: state as WorkerStats['state'],
      pid: carrier.pid,
      threadId: carrier.threadId,
      running: sent.length,
      done,
    }))
  }

  words(): string {
    const tasks = this.members.flatMap(({ sent, carrier }) => (sent.first ? `${sent.first.task} in ${carrier.label}` : []))
    const names = tasks.length > 0 ? ` (${tasks.slice(0, MOST_NAMES).join(', ')}${tasks.length > MOST_NAMES ? ', …' : ''})` : ''
    return `${this.sent} running${names}, ${this.queued} queued`
  }

  private pumpSoon(): void {
    if (this.isPumpDue) return
    this.isPumpDue = true
    // After all that the program does now: tasks that it submits one after another go together.
    nextTick(this.pump)
  }

  /** Starts workers for what waits, and gives them what they have room for. */
  private readonly pump = (): void => {
    this.isPumpDue = false
    if (!this.closing) {
      this.seats.fill(this.queue.length, this.keyed)
      this.giveSome()
      if (this.waiting.length > 0) this.tellRoom()
    }
    this.tellBusy()
  }

  private giveSome(): void {
    const ready = this.members.filter(({ state, isDue, isRecalled }) => state === 'ready' && !isDue && !isRecalled)
    if (ready.length === 0) return
    if (ready.length > 1) ready.sort((a, b) => a.load - b.load || a.sent.length - b.sent.length)
    const share = Math.ceil(this.queue.length / ready.length)
    for (const member of ready) this.giveTo(member, share)
    this.count()
    if (ready.length > 1 && this.queue.length === 0) this.watchForStuck(ready)
  }

  private giveTo(member: Member, share: number): void {
    const jobs: Job[] = []
    const most = Math.min(this.ahead.tasks, this.settings.recycle.tasks - member.done) - member.sent.length
    let { load } = member
    let left = share
    while (jobs.length < most) {
      const queue = this.sourceFor(member, left > 0)
      const job = queue?.peek()
      if (!queue || !job) break
      // What is handed over can't be taken back.
      job.cost = job.transfer ? LONG : Math.min(LONG, job.estimate.cost + job.estimate.travel)
      // What takes long waits for a worker of its own.
      if (load + job.cost > this.ahead.work && !(member.isIdle && jobs.length === 0)) break
      queue.shift()
      job.state = 'sent'
      if (queue === this.queue) left--
      load += job.cost
      jobs.push(job)
    }
    if (jobs.length === 0) return
    member.give(jobs)
    // None could be cloned: there is room for others.
    if (member.isIdle) this.pumpSoon()
  }

  /** Where its next task is: what only this worker may do comes first, unless something more urgent waits. */
  private sourceFor(member: Member, isShared: boolean): Queue | undefined {
    if (member.own.length > 0) return member.own
    const keyed = this.keyed.get(member.seat)
    if (!isShared || !this.queue.length) return keyed
    if (!keyed?.length) return this.queue
    return (keyed.peek()?.priority ?? 0) >= (this.queue.peek()?.priority ?? 0) ? keyed : this.queue
  }

  /** A task that takes longer than those before it doesn't hold up what was sent with it. */
  private watchForStuck(ready: readonly Member[]): void {
    if (this.stuckTimer || !ready.some(({ isIdle }) => isIdle) || !ready.some(({ sent }) => sent.length > 1)) return
    this.stuckTimer = setTimeout(() => {
      this.stuckTimer = undefined
      const now = performance.now()
      for (const member of this.members) {
        if (member.state !== 'ready' || member.sent.length < 2) continue
        if (now - member.heardAt >= STUCK && !member.isRecalled) member.takeBack()
      }
      this.pumpSoon()
    }, STUCK).unref()
  }

  private makeMember(number: number, seat: number): Member {
    return new Member(number, seat, this.start, this.settings, {
      ready: (each) => this.hearReady(each),
      done: (each, job, took) => this.hearDone(each, job, took),
      returned: (each, jobs) => this.hearReturned(each, jobs),
      timedOut: (job) => this.hearTimeout(job),
      due: (each) => this.seats.hearDue(each),
      runaway: (each) => this.replace(each, 'abort'),
      gone: (each, end) => this.hearGone(each, end),
      output: this.output,
    })
  }

  private hearReady(member: Member): void {
    this.seats.hearReady(member)
    this.pump()
  }

  private hearDone(member: Member, job: Job, took: number): void {
    this.sent--
    this.counts.tasksDone++
    this.events.done(member.heardAt - job.queuedAt, took)
    this.seats.hearDone(member)
    this.pumpSoon()
  }

  private hearReturned(member: Member, jobs: readonly Job[]): void {
    if (member.words !== undefined && !member.asked && member.isIdle) this.suspect(jobs[0])
    const open = jobs.filter(({ state }) => state === 'sent')
    if (this.closing) for (const job of open) this.handOver(job, this.closing)
    else this.putBack(open)
    this.seats.hearIdle(member)
    this.count()
    this.pumpSoon()
  }

  private hearTimeout(job: Job): void {
    this.abort(job, new PoolError('ERR_EXODOS_TASK_TIMEOUT', `${job.task} has taken longer than its ${job.timeout} ms`))
  }

  private hearGone(member: Member, end: End): void {
    this.seats.vacate(member)
    const { isDisposed, readyAt, receipts } = member
    if (isDisposed || readyAt > 0 || receipts > 0) this.counts[isDisposed ? 'disposed' : receipts > 0 ? 'rescued' : 'killed']++
    this.settleLost(member, end)
    this.seats.hearEnd(member)
    const isQuiet = member.asked !== undefined || member.failure !== undefined || end.lost.length > 0 || exiting.aborted
    if (!isQuiet) this.events.died(endOf(member, end))
    this.count()
    this.leavers.get(member)?.()
    this.pumpSoon()
  }

  /** No task of a worker that has died is forgotten, and none is run twice without a word. */
  private settleLost(member: Member, end: End): void {
    const { exit, error, lost, unstarted, isSure } = end
    const { onCrash } = this.settings
    const died = (job: Job, started: boolean | 'unknown') => {
      const message = `${endOf(member, end)}; it had been given ${job.task}`
      return new WorkerDiedError(message, started, exit, error === undefined ? undefined : { cause: error })
    }
    const again: Job[] = []
    for (const job of lost) {
      if (job.state !== 'sent') continue
      // What was meant for this worker is of no use to another.
      if (onCrash === 'retry' && job.home !== member.own && !job.transfer && job.tries++ === 0) {
        again.push(job)
        this.events.rerun(job, exit)
      } else job.reject(died(job, isSure || job.hasTold || 'unknown'))
    }
    if (lost.length === 0) this.suspect(unstarted[0])
    for (const job of [...unstarted, ...drained(member.own)]) {
      if (job.state === 'over') continue
      if (onCrash === 'reject' || job.home === member.own) job.reject(died(job, false))
      else again.push(job)
    }
    if (this.closing) for (const job of again) this.handOver(job, this.closing)
    else this.putBack(again)
  }

  /** What a worker was to begin when it has died may be what it has died of: as it is read, say. */
  private suspect(job: Job | undefined): void {
    if (job && ++job.deaths >= MOST_DEATHS)
      job.reject(new WorkerDiedError(`${MOST_DEATHS} workers have died before they had begun ${job.task}`, false, NO_EXIT))
  }

  private replace(member: Member, reason: LeaveReason): void {
    member.takeBack()
    member.leave(reason)
  }

  private allQueued(): Job[] {
    return [this.queue, ...this.keyed.values(), ...this.members.map(({ own }) => own)].flatMap(drained)
  }

  private handOver(job: Job, error: Error): void {
    if (job.state === 'over') return
    this.counts.tasksHandedOver++
    job.reject(leftBehind(error, job, false))
  }

  private putBack(jobs: readonly Job[]): void {
    for (const job of jobs) if (job.transfer) job.reject(handedOver(job))
    const whole = jobs.filter(({ transfer }) => !transfer)
    for (const job of whole) job.state = 'queued'
    for (const queue of new Set(whole.map(({ home }) => home))) queue?.putBack(whole.filter(({ home }) => home === queue))
  }

  private queueFor(key: string | number | undefined): Queue {
    if (key === undefined) return this.queue
    const seat = seatOf(key, this.settings.max)
    let queue = this.keyed.get(seat)
    if (!queue) {
      queue = new Queue()
      this.keyed.set(seat, queue)
    }
    return queue
  }

  private count(): void {
    this.sent = 0
    for (const { sent } of this.members) this.sent += sent.length
  }

  private tellRoom(): void {
    const { backlog } = this
    const open = this.waiting.filter(({ most }) => backlog < most)
    this.waiting = this.waiting.filter((each) => !open.includes(each))
    for (const { resolve } of open) resolve()
  }

  private tellBusy(): void {
    const isBusy = this.sent > 0 || this.queued > 0
    // What nobody uses yet is waited for until it is ready.
    if (!isBusy && this.idlers.length > 0) for (const resolve of this.idlers.splice(0)) resolve()
    this.isBusy = isBusy
    this.events.busy(isBusy || this.seats.isStarting)
  }
}

/** How a worker has ended, in words. */
function endOf({ number, carrier, words }: Member, { exit, error }: End): string {
  const how = exit.signal ? `by ${exit.signal}` : `with exit code ${exit.code}`
  const why = words ?? (error === undefined ? undefined : messageOf(error))
  return `worker ${number} (${carrier.label}) ended ${how}${why && why !== exit.signal ? ` (${why})` : ''}`
}

/** The pool has closed, and with it this task. */
function leftBehind(error: Error, { task }: Job, started: boolean | 'unknown'): Error {
  const words = started === false ? 'had not been started' : 'was cut off'
  return Object.assign(new PoolError('ERR_EXODOS_POOL_CLOSED', `${error.message}: ${task} ${words}`), { started })
}

function handedOver({ task }: Job): WorkerDiedError {
  const message = `the worker left before it had begun ${task}, whose input was handed over to it: nobody else can have that`
  return new WorkerDiedError(message, false, NO_EXIT)
}

function drained(queue: Queue): Job[] {
  const jobs: Job[] = []
  for (let job = queue.shift(); job; job = queue.shift()) jobs.push(job)
  return jobs
}

/** The same for the same key, as long as the pool lives. */
function seatOf(key: string | number, seats: number): number {
  let hash = 0x811c9dc5
  for (const char of String(key)) hash = Math.imul(hash ^ (char.codePointAt(0) as number), 0x01000193)
  return (hash >>> 0) % seats
}
