import { clearTimeout, setTimeout } from 'node:timers'
import type { Carrier, CarrierEvents, StartCarrier } from '../carriers/carrier.js'
import { Fifo } from '../engine/fifo.js'
import type { Job } from '../engine/job.js'
import type { Settings } from '../engine/options.js'
import { Queue } from '../engine/queue.js'
import { type Exit, PoolError } from '../shared/errors.js'
import { pack, uncloneable, unpack } from '../shared/pack.js'
import { following, isBefore, type Message, ToPool, ToWorker, type Transferable } from '../shared/protocol.js'
import { snapshot } from '../shared/snapshot.js'
import type { DisposeReason } from '../worker/definition.js'

export type LeaveReason = Extract<DisposeReason['kind'], 'close' | 'idle' | 'recycle' | 'abort' | 'init'>

/** What becomes of a worker that a pool has started. */
export interface MemberEvents {
  ready(member: Member): void
  /** Tasks have ended: there is room for others. */
  done(member: Member, job: Job, took: number): void
  /** It gives tasks back that it has not started. */
  returned(member: Member, jobs: readonly Job[]): void
  timedOut(job: Job): void
  /** It is to be replaced as soon as it has nothing to do. */
  due(member: Member): void
  /** Of a task that was aborted, and hasn't ended in time. */
  runaway(member: Member): void
  gone(member: Member, end: End): void
  output: CarrierEvents['output']
}

/** How a worker has ended. */
export interface End {
  readonly exit: Exit
  readonly error: unknown
  /** Tasks that it may have started, and those that it has not. */
  readonly lost: readonly Job[]
  readonly unstarted: readonly Job[]
  /** Are the lost ones known to have been started? */
  readonly isSure: boolean
}

/** For a worker that has its own time limits, and for messages, beyond what it was given to leave. */
const MARGIN = 1000

/** A worker that has told nothing for so many times what a task that was aborted has to end is blocked by some task. */
const SILENT = 10
/** So many results are sent together at most. */
const MOST_RESULTS = 64

/** Is it to be known when it begins? Then results of others are sent before that. */
const isToBeAnnounced = ({ isWatched, estimate }: Job) => isWatched || estimate.isUneven

/** One worker: from its start to its end. */
export class Member {
  state: 'starting' | 'ready' | 'leaving' | 'gone' = 'starting'
  readonly carrier: Carrier
  /** What it was given and has not done, in its order. */
  readonly sent = new Fifo<Job>()
  /** Milliseconds that that will take, as far as known. */
  load = 0
  done = 0
  /** Jobs for this one alone. */
  readonly own = new Queue()
  /** It is to be replaced as soon as it has nothing to do. */
  isDue = false
  /** Since when it has had nothing to do, and heard of a result. */
  idleSince = 0
  heardAt = 0
  readyAt = 0
  asked: LeaveReason | undefined
  /** Why it could not be a worker. */
  failure: unknown
  receipts = 0
  isDisposed = false
  /** It was asked for what it has not started: what came now would be started before that, were that given to it once more. */
  isRecalled = false
  private next = 0
  /** Why it leaves by itself, in words, and what nobody has handled in it. */
  words: string | undefined
  private problem: unknown
  /** The number of the first task that it has not begun, and never will. */
  private begun: number | undefined
  private isMade = false
  private readonly timers = new Set<NodeJS.Timeout>()

  constructor(
    readonly number: number,
    readonly seat: number,
    start: StartCarrier,
    private readonly settings: Settings,
    private readonly events: MemberEvents,
  ) {
    const { url, data, dispose: disposeTimeout, recycle, name } = settings
    // Nobody else's message begins with it by chance; node:crypto would take 3 ms to load.
    const key = Math.random().toString(36).slice(2)
    const own = `${name} ${number}`
    const birth = {
      key,
      name: own,
      url,
      worker: number,
      data,
      disposeTimeout,
      measuresHeap: recycle.heapBytes !== Number.POSITIVE_INFINITY,
    }
    this.carrier = start(
      birth,
      { ...settings, name: own },
      {
        message: (message) => {
          this.hear(message)
          return !this.isIdle
        },
        gone: (exit, error) => this.gone(exit, error),
        output: events.output,
      },
    )
    this.isMade = true
    if (settings.init !== Number.POSITIVE_INFINITY) this.after(settings.init, () => this.giveUp())
  }

  get isIdle(): boolean {
    return this.sent.length === 0
  }

  /** Sends together what can wait for others: what is large can't, nor what may be changed meanwhile. */
  give(jobs: readonly Job[]): void {
    // Who waits for a single result has it at once.
    const most = jobs.length === 1 && this.isIdle ? 1 : MOST_RESULTS
    let together: { readonly job: Job; readonly input: unknown }[] = []
    const giveTogether = () => {
      // Whoever was asked for the properties of an input may have aborted tasks.
      const open = together.filter(({ job }) => job.state !== 'over')
      together = []
      if (open.length > 0) this.giveAll(open)
    }
    for (const job of jobs) {
      const input = most === 1 || job.transfer ? undefined : snapshot(job.input)
      if (input) together.push({ job, input: input.value })
      else {
        giveTogether()
        if (job.state !== 'over') this.giveOne(job, most)
      }
    }
    giveTogether()
    this.armTimeout()
  }

  private giveAll(all: readonly { readonly job: Job; readonly input: unknown }[]): void {
    const message: Message = [ToWorker.tasks, this.next, MOST_RESULTS]
    let counter = 0
    let last: string | undefined
    let wasAnnounced: boolean | undefined
    for (const { job, input } of all) {
      const isAnnounced = isToBeAnnounced(job)
      if (job.task !== last || isAnnounced !== wasAnnounced) counter = message.push(job.task, isAnnounced, 0) - 1
      last = job.task
      wasAnnounced = isAnnounced
      message[counter] = (message[counter] as number) + 1
      message.push(input)
    }
    this.send(
      all.map(({ job }) => job),
      message,
      [],
    )
  }

  /** Rejects it if it can't be cloned. */
  private giveOne(job: Job, most: number): void {
    try {
      this.send([job], [ToWorker.tasks, this.next, most, job.task, isToBeAnnounced(job), 1, job.input], job.transfer ?? [])
    } catch (error) {
      job.reject(new PoolError('ERR_EXODOS_UNCLONEABLE', uncloneable(`the input of ${job.task}`, error)))
    }
  }

  private send(jobs: readonly Job[], message: Message, transfer: readonly Transferable[]): void {
    const began = performance.now()
    if (this.isIdle) this.heardAt = began
    this.carrier.post(message, transfer)
    const each = (performance.now() - began) / jobs.length
    for (const job of jobs) this.note(job, each)
  }

  private note(job: Job, travel: number): void {
    job.estimate.addTravel(travel)
    job.seq = this.next
    this.sent.push(job)
    this.load += job.cost
    this.next = following(this.next)
  }

  /** Asks for the end of a task; when that doesn't come the worker has to go. */
  abort(job: Job, reason: unknown): void {
    if (!this.sent.has(job) || this.state === 'gone') return
    if (this.first !== job) this.takeBack()
    if (!this.sent.has(job)) return
    this.post([ToWorker.abort, job.seq, pack(reason)])
    this.watchRunaway(job)
  }

  /** One that waits behind another has done nothing wrong; but where nothing is heard for long, nobody knows who runs. */
  private watchRunaway(job: Job, times = 1): void {
    // Forgotten with the job.
    job.timer = setTimeout(() => {
      if (!this.sent.has(job) || this.asked) return
      const isSilent = times > SILENT && performance.now() - this.heardAt > SILENT * this.settings.abort
      if (this.isRunning(job) || isSilent) this.events.runaway(this)
      else this.watchRunaway(job, times + 1)
    }, this.settings.abort).unref()
  }

  /** Has it begun? */
  knows(job: Job): boolean | 'unknown' {
    const { started } = this.carrier
    return started === undefined ? job.hasTold || 'unknown' : isBefore(job.seq, started)
  }

  private jobOf(seq: number): Job | undefined {
    // Nearly always.
    if (this.first?.seq === seq) return this.first
    for (const job of this.sent) if (job.seq === seq) return job
    return undefined
  }

  private isRunning(job: Job): boolean {
    const { started } = this.carrier
    return started === undefined ? this.first === job : following(job.seq) === started
  }

  /** What it is at, as far as it has told. */
  private get first(): Job | undefined {
    return this.sent.first
  }

  /** What has not been started comes back by `returned`: now, or when the worker has answered. */
  takeBack(): void {
    const started = this.carrier.takeBack(this.next)
    if (started === undefined) this.isRecalled = true
    else this.giveBack((job) => !isBefore(job.seq, started))
  }

  /** Asks it to leave; kills it when it doesn't. */
  leave(reason: LeaveReason, dispose = this.settings.dispose, margin = MARGIN): void {
    if (this.asked || this.state === 'gone') return
    const { patience } = this.carrier
    if (this.state === 'ready' && patience < dispose)
      this.after(patience, () => {
        if (this.words === undefined) this.carrier.kill()
      })
    this.after(dispose + margin, () => this.carrier.kill())
    this.asked = reason
    this.state = 'leaving'
    this.post([ToWorker.leave, reason])
  }

  private hear(message: Message): void {
    const [kind, first, second, third, fourth] = message
    if (kind === ToPool.results) this.hearResults(message)
    else if (kind === ToPool.ready) this.hearReady()
    else if (kind === ToPool.failed) this.failure = unpack(first)
    else if (kind === ToPool.progress) this.hearProgress(first as number, second)
    else if (kind === ToPool.returned) this.hearReturned(message)
    else if (kind === ToPool.leaving) this.hearLeaving(first as string, second as boolean, third as number, fourth)
    else if (kind === ToPool.disposed) this.isDisposed = first === null
    else if (kind === ToPool.heap && (first as number) > this.settings.recycle.heapBytes) this.events.due(this)
    else if (kind === ToPool.receipts) this.receipts = first as number
  }

  private hearReturned(message: Message): void {
    this.isRecalled = false
    this.giveBack((job) => message.includes(job.seq, 1))
  }

  private hearProgress(seq: number, value: unknown): void {
    const job = this.jobOf(seq)
    if (job?.state !== 'sent') return
    job.hasTold = true
    job.onProgress?.(value)
  }

  private giveUp(): void {
    if (this.state !== 'starting') return
    this.failure = new Error(`init has taken longer than ${this.settings.init} ms`)
    this.carrier.kill()
  }

  private hearReady(): void {
    if (this.state !== 'starting') return
    this.state = 'ready'
    this.readyAt = this.idleSince = performance.now()
    this.events.ready(this)
  }

  private hearResults(message: Message): void {
    const now = performance.now()
    this.heardAt = now
    const [, first, tooks, hasFailed] = message as [number, number, number[], boolean]
    let seq = first
    for (let at = 0; at < tooks.length; at++, seq = following(seq)) {
      const job = this.jobOf(seq)
      if (!job) continue
      const took = (tooks[at] as number) / 1000
      const value = message[at + 4]
      this.remove(job)
      this.done++
      job.estimate.add(took)
      if (hasFailed) job.reject(unpack(value))
      else job.resolve(value)
      this.events.done(this, job, took)
    }
    if (this.isIdle) this.idleSince = now
    this.armTimeout()
  }

  /** It does so by itself, or as it was asked to. */
  private hearLeaving(words: string, isPatient: boolean, begun: number, problem: unknown): void {
    this.words = words
    this.begun = begun
    if (problem !== undefined) this.problem = unpack(problem)
    this.state = 'leaving'
    // What has been sent since is never begun.
    if (!isPatient) this.giveBack((job) => !isBefore(job.seq, begun))
  }

  private giveBack(isUnstarted: (job: Job) => boolean): void {
    const jobs = [...this.sent].filter(isUnstarted)
    for (const job of jobs) this.remove(job)
    this.events.returned(this, jobs)
  }

  private remove(job: Job): void {
    this.sent.remove(job)
    job.stopTimer()
    this.load = this.isIdle ? 0 : this.load - job.cost
  }

  /** The time of a task begins when it is the next one. */
  private armTimeout(): void {
    const job = this.first
    if (job && job.timeout > 0 && !job.timer && job.state === 'sent')
      job.timer = setTimeout(() => this.events.timedOut(job), job.timeout)
  }

  private gone(exit: Exit, error: unknown): void {
    // What could not be started has been told by an error.
    if (this.state === 'gone' || !this.isMade) return
    const wasReady = this.readyAt > 0
    this.state = 'gone'
    for (const timer of this.timers) clearTimeout(timer)
    this.timers.clear()
    const started = this.carrier.started ?? this.begun
    const jobs = [...this.sent]
    const isUnstarted = (job: Job) => started !== undefined && !isBefore(job.seq, started)
    for (const job of jobs) this.remove(job)
    if (!wasReady && !this.asked) this.failure ??= error ?? this.diedWords(exit)
    this.events.gone(this, {
      exit,
      error: error ?? this.problem ?? this.failure,
      lost: jobs.filter((job) => !isUnstarted(job)),
      unstarted: jobs.filter(isUnstarted),
      isSure: started !== undefined,
    })
  }

  private diedWords({ code, signal }: Exit): Error {
    return new Error(`${this.carrier.label} ended with ${signal ?? `exit code ${code}`} before it was ready`)
  }

  private post(message: Message): void {
    try {
      this.carrier.post(message, [])
    } catch {
      // Its end is told.
    }
  }

  /** Unless it has gone before. */
  after(ms: number, act: () => void): void {
    const timer = setTimeout(
      () => {
        this.timers.delete(timer)
        act()
      },
      Math.min(ms, 2 ** 31 - 1),
    ).unref()
    this.timers.add(timer)
  }
}
