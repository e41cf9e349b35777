import type { ChildProcess } from 'node:child_process'
import { existsSync, lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers'
import type { Worker } from 'node:worker_threads'
import { clock } from '../process/clock.js'
import { builtin, EventEmitter, isExiting, realProcess } from '../process/real.js'
import { randomHex } from '../system/random.js'
import { executorIn, hasShell, startNode, startOrphan, startRecovery, startShell } from './launch.js'
import { PipeRecords } from './pipe-records.js'
import { Journal, type Records } from './records/journal.js'
import { holdLease } from './records/lease.js'
import { needsLease, ownerName, thisOwner } from './records/owner.js'
import { distrust, findStateDir } from './records/state-dir.js'
import { countFailed, findDead, isEmpty, LEASE, ownersIn, recoverDead, recoverThreads, removeOwner } from './recovery/claim.js'
import { Living } from './recovery/living.js'
import { Waiter } from './waiter.js'

/** What survives of this process just now, and why not more. */
export interface DurableStatus {
  /** Does somebody wait for our death? Otherwise records are done at the next start. */
  readonly guarded: boolean
  /** Where records are kept; undefined if nothing can be written to: then the guardian keeps them, for this process alone. */
  readonly stateDir: string | undefined
  /** Why something doesn't hold; undefined if all does. */
  readonly reason: string | undefined
  /** Records of this thread that are neither done nor cancelled. */
  readonly records: number
  /** How many processes have left something behind that couldn't be done, or was left alone: `exodos recover` tells. */
  readonly failed: number
}

/** The guardian for what is asked for, of this user: one for all copies of exodos in this thread. */
export function guardianFor(options: GuardianOptions): Guardian {
  const key = JSON.stringify([PROTOCOL, process.geteuid?.(), options.stateDir, options.durability])
  const { guardians } = shared()
  let guardian = guardians.get(key)
  if (!guardian || guardian.isOver) {
    guardian = new Guardian(options)
    guardians.set(key, guardian)
  }
  return guardian
}

export interface GuardianOptions {
  /** Does it look for what dead processes have left? Default true. */
  readonly recovers?: boolean
  readonly durability?: 'process' | 'power'
  readonly stateDir?: string
}

/** What copies of exodos in a thread share: by state directory one process that waits for its death, and one listener. */
interface SharedByCopies {
  readonly waiters: Map<string, { readonly reason: string | undefined; check(): void }>
  /** By what they were asked for. Whoever speaks another protocol makes its own. */
  readonly guardians: Map<string, Guardian>
  readonly leaving: Set<() => void>
}
const KEY = Symbol.for('exodos.guardians')
const holder = EventEmitter as unknown as { [KEY]?: SharedByCopies }

function shared(): SharedByCopies {
  if (holder[KEY]) return holder[KEY]
  const made: SharedByCopies = { waiters: new Map(), guardians: new Map(), leaving: new Set() }
  holder[KEY] = made
  realProcess.on('exit', () => {
    for (const leave of made.leaving) leave()
  })
  return made
}

const SECOND = 1000
/** Of what a `Guardian` offers to other copies. */
const PROTOCOL = 1

/** What a thread has from the one that has started it, which looks after it. */
const INHERITED = 'exodos.guardian'

const threads = () => builtin<typeof import('node:worker_threads')>('node:worker_threads')

const inherited = () => threads().getEnvironmentData(INHERITED) as GuardianOptions | undefined

export const withInherited = (options: GuardianOptions): GuardianOptions => ({ ...inherited(), ...options })

/** The records of this thread, and who waits for its death. Made with the first record. */
export class Guardian {
  readonly records: Records
  readonly stateDir: string | undefined
  private readonly dir: string | undefined
  private readonly waiter: { readonly reason: string | undefined; check(): void }
  private readonly reason: string | undefined
  private isLeaving = false
  private isWaiting = false
  private isLeased = false
  private looked = clock.now()
  private readonly living: Living | undefined

  constructor(options: GuardianOptions) {
    const { durability = 'process', stateDir } = withInherited(options)
    const place = openJournal(stateDir, durability, (journal) => this.whenEmpty(journal))
    if ('reason' in place) {
      const records = new PipeRecords()
      this.records = records
      this.reason = `no directory for records: ${place.reason}`
      this.waiter = new Waiter(() => records.attach(startNode(undefined, ownerName(thisOwner()))))
      return
    }
    const { state, dir, journal } = place
    this.records = journal
    this.stateDir = state
    this.dir = dir
    this.waiter = waiterFor({ durability, stateDir: state })
    this.isLeased = needsLease() || options.stateDir !== undefined
    if (this.isLeased) quietly(() => void holdLease(dir, LEASE))
    this.living = new Living(state, ownersIn(state), ownerName(thisOwner()))
    shared().leaving.add(() => {
      this.isLeaving = true
      this.whenEmpty(journal)
    })
    if (options.recovers !== false) void findDead(state).then((dead) => dead.length > 0 && recoverInBackground(state))
  }

  /** Is its directory removed already, while the process ends? Listeners of 'exit' may still want something. */
  get isOver(): boolean {
    return this.isLeaving && this.dir !== undefined && !existsSync(this.dir)
  }

  /** Has another process, or thread, recorded the path, too? */
  readonly isWanted = (path: string): boolean => this.living?.want(path) ?? false

  /** Somebody may have tidied up the state directory. Looked for once a second. */
  lookAfter(): void {
    const now = clock.now()
    if (now - this.looked < SECOND) return
    this.looked = now
    this.mend()
    quietly(() => this.waiter.check())
  }

  private mend(): void {
    quietly(() => {
      if (!(this.records instanceof Journal) || !this.records.mend()) return
      executorIn(this.stateDir as string)
      if (this.isLeased) holdLease(this.dir as string, LEASE)
    })
  }

  /** The journal is emptied at most once a turn of the event loop; at the end, so that nothing is left behind. */
  private whenEmpty(journal: Journal): void {
    if (isExiting()) this.isLeaving = true
    if (this.isLeaving) {
      journal.empty()
      quietly(() => isEmpty(this.dir as string) && removeOwner(this.dir as string))
    } else if (!this.isWaiting) {
      this.isWaiting = true
      setImmediate(() => {
        this.isWaiting = false
        journal.empty()
      }).unref()
    }
  }

  status(): DurableStatus {
    this.mend()
    this.waiter.check()
    const { waiter, stateDir } = this
    return {
      guarded: waiter.reason === undefined,
      stateDir,
      reason: [this.reason, waiter.reason].filter(Boolean).join('; ') || undefined,
      records: this.records.count,
      failed: stateDir === undefined ? 0 : countFailed(stateDir),
    }
  }
}

type Place = { state: string; dir: string; journal: Journal } | { reason: string }

function openJournal(
  configured: string | undefined,
  durability: GuardianOptions['durability'],
  whenEmpty: (journal: Journal) => void,
): Place {
  const found = findStateDir(configured)
  if ('reason' in found) return found
  const owners = ownersIn(found.path)
  const dir = join(owners, ownerName(thisOwner()))
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    for (const path of [owners, dir]) {
      const problem = distrust(lstatSync(path))
      if (problem) return { reason: `${path} ${problem}` }
    }
    // Of its own for each guardian of this thread.
    const journal = new Journal(join(dir, `${randomHex(6)}.journal`), durability, whenEmpty)
    return { state: found.path, dir, journal }
  } catch (error) {
    return { reason: (error as Error).message }
  }
}

function waiterFor(options: GuardianOptions & { readonly stateDir: string }): {
  readonly reason: string | undefined
  check(): void
} {
  const state = options.stateDir
  const { waiters } = shared()
  let waiter = waiters.get(state)
  if (!waiter) {
    if (!threads().isMainThread && inherited()?.stateDir === state) {
      waiter = { reason: undefined, check() {} }
      waiters.set(state, waiter)
      lookAfterThreads(options, state)
      return waiter
    }
    waiter = new Waiter(() => startWaiter(state))
    waiters.set(state, waiter)
    if (threads().isMainThread) lookAfterThreads(options, state)
  }
  return waiter
}

function startWaiter(state: string): ChildProcess | number {
  const owner = thisOwner()
  const name = ownerName(owner)
  if (!hasShell()) return startNode(state, name)
  if (threads().isMainThread) return startShell(state, `${owner.pid}.${owner.start}.`, name)
  return startOrphan(state, name, join(ownersIn(state), name, 'pipe'))
}

/** What a thread has left behind is done as soon as it has ended. */
function lookAfterThreads(options: GuardianOptions, state: string): void {
  threads().setEnvironmentData(INHERITED, { ...options })
  const recover = () => void recoverThreads(state)
  realProcess.on('worker', (worker: Worker) =>
    worker.once('exit', () => {
      recover()
      // The kernel may still show the thread for a moment.
      for (const moment of [20, 100, 1000]) setTimeout(recover, moment).unref()
    }),
  )
}

function recoverInBackground(state: string): void {
  try {
    startRecovery(state)
  } catch {
    // There is no other Node: then here.
    void recoverDead(state)
  }
}

/** What could not be done now is done at the next start. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}
