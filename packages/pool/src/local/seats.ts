import { AsyncResource } from 'node:async_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import { exiting } from 'exodos/lib'
import type { Settings } from '../engine/options.js'
import { messageOf, PoolError } from '../shared/errors.js'
import type { Member } from './member.js'

/** Milliseconds before a worker is started again where the last one came to nothing; doubled each time. */
const BACKOFF = 100
const LONGEST_BACKOFF = 30_000
/** A worker that dies before it has done anything within so many milliseconds has come to nothing. */
const EARLY = 1000

/** As many places as there may be workers: who is started, who is replaced, and who goes because there is nothing to do. */
export class Seats {
  readonly ready: Promise<void>
  /** Those in the seats. */
  members: readonly Member[] = []
  /** Why no worker is started any more. */
  broken: Error | undefined
  private readonly seats: (Member | undefined)[]
  private numbers = 0
  private isReady = false
  private isClosed = false
  private resolveReady = () => {}
  private rejectReady: (error: unknown) => void = () => {}
  private failures = 0
  private retryAt = 0
  private retryTimer: NodeJS.Timeout | undefined
  private idleTimer: NodeJS.Timeout | undefined

  constructor(
    private readonly settings: Settings,
    makeMember: (number: number, seat: number) => Member,
    /** No worker will come soon: nobody waits for one. */
    private readonly despair: (error: Error) => void,
    /** It is time to try again. */
    private readonly retry: () => void,
  ) {
    this.seats = new Array(settings.max).fill(undefined)
    // For all callers, so in the context of none.
    this.make = AsyncResource.bind(makeMember)
    this.ready = new Promise((resolve, reject) => {
      this.resolveReady = resolve
      this.rejectReady = reject
    })
    // Every task tells of it, too.
    this.ready.catch(() => {})
    if (settings.min === 0) this.becomeReady()
  }

  private readonly make: (number: number, seat: number) => Member

  /** The first workers are still to come. */
  get isStarting(): boolean {
    return !this.isReady && !this.broken
  }

  /** As many workers as there are to be, and as what waits can use: for whom it likes, and in certain seats. */
  fill(waiting: number, certain: Iterable<readonly [seat: number, waiting: { readonly length: number }]>): void {
    if (this.broken || this.isClosed) return
    if (this.retryAt > 0 && performance.now() < this.retryAt) {
      this.retryLater()
      return
    }
    let staying = 0
    let free = 0
    for (const { state, isIdle } of this.members) {
      if (state !== 'leaving') staying++
      if (state === 'starting' || (state === 'ready' && isIdle)) free++
    }
    // On the way out only for what waits.
    const min = exiting.aborted ? 0 : this.settings.min
    let wanted = Math.max(min - staying, waiting - free)
    for (const [seat, { length }] of certain) if (length > 0 && !this.seats[seat] && this.start(seat)) wanted--
    for (let seat = 0; seat < this.seats.length && wanted > 0 && !this.broken; seat++)
      if (!this.seats[seat] && this.start(seat)) wanted--
  }

  /** No worker is started any more. */
  close(error: Error): void {
    this.isClosed = true
    clearTimeout(this.retryTimer)
    clearTimeout(this.idleTimer)
    if (!this.isReady) this.rejectReady(error)
  }

  hearReady(member: Member): void {
    const { recycle, min } = this.settings
    if (recycle.age !== Number.POSITIVE_INFINITY) member.after(recycle.age, () => this.hearDue(member))
    if (this.members.filter(({ state }) => state === 'ready').length >= min) this.becomeReady()
    this.watchForIdle()
  }

  hearDone(member: Member): void {
    this.failures = 0
    if (member.done >= this.settings.recycle.tasks) member.isDue = true
    this.hearIdle(member)
  }

  /** It may have nothing to do now. */
  hearIdle(member: Member): void {
    if (!member.isIdle) return
    this.replaceIfDue(member)
    this.watchForIdle()
  }

  /** It is to be replaced as soon as it has nothing to do. */
  hearDue(member: Member): void {
    member.isDue = true
    this.replaceIfDue(member)
  }

  /** It has ended: its seat is free. */
  vacate(member: Member): void {
    this.sit(member.seat, undefined)
  }

  /** Called when its tasks are back where they wait: if it came to nothing, the next one isn't started in a hurry. */
  hearEnd({ failure, asked, done, readyAt }: Member): void {
    if (failure !== undefined && !this.isClosed) this.hearFailure(failure)
    else if (!asked && done === 0 && performance.now() - readyAt < EARLY) this.backOff()
  }

  private start(seat: number): boolean {
    try {
      this.sit(seat, this.make(++this.numbers, seat))
      return true
    } catch (error) {
      this.hearFailure(error)
      return false
    }
  }

  private sit(seat: number, member: Member | undefined): void {
    this.seats[seat] = member
    this.members = this.seats.filter((each) => each !== undefined)
  }

  private becomeReady(): void {
    this.isReady = true
    this.resolveReady()
  }

  private hearFailure(cause: unknown): void {
    const message = `${this.settings.name}: a worker could not be started: ${messageOf(cause)}`
    const error = new PoolError('ERR_EXODOS_WORKER_INIT', message, { cause })
    if (!this.isReady) {
      this.broken = error
      this.rejectReady(error)
      for (const member of this.members) member.leave('init')
    } else this.backOff()
    const isAlone = !this.members.some(({ state }) => state === 'starting' || state === 'ready')
    if (isAlone || this.broken) this.despair(error)
  }

  private backOff(): void {
    this.retryAt = performance.now() + Math.min(LONGEST_BACKOFF, BACKOFF * 2 ** this.failures++)
  }

  private retryLater(): void {
    this.retryTimer ??= setTimeout(() => {
      this.retryTimer = undefined
      this.retry()
    }, this.retryAt - performance.now()).unref()
  }

  private replaceIfDue(member: Member): void {
    if (member.isDue && member.isIdle && member.state === 'ready') member.leave('recycle')
  }

  private watchForIdle(): void {
    const { idleTimeout, min, max } = this.settings
    if (this.idleTimer || min === max || this.isClosed) return
    this.idleTimer = setTimeout(() => {
      this.idleTimer = undefined
      const now = performance.now()
      const ready = this.members.filter(({ state }) => state === 'ready')
      const idle = ready.filter((each) => each.isIdle && now - each.idleSince >= idleTimeout - 1)
      for (const member of idle.slice(0, Math.max(0, ready.length - min))) member.leave('idle')
      if (ready.length > min) this.watchForIdle()
    }, idleTimeout).unref()
  }
}
