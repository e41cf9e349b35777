import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers'
import { getEnvironmentData, isMainThread, setEnvironmentData, type Worker } from 'node:worker_threads'
import { EventEmitter, isExiting, realProcess } from '../process/real.js'
import { countFailed, findDead, isEmpty, ownersIn, recoverProcess, removeOwner } from './claim.js'
import { Journal, type Records } from './journal.js'
import { hasShell, startNode, startOrphan, startRecovery, startShell } from './launch.js'
import { leaseIn, needsLease, ownerName, thisOwner } from './owner.js'
import { PipeRecords } from './pipe-records.js'
import { distrust, findStateDir } from './state-dir.js'
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

export interface GuardianOptions {
  readonly durability?: 'process' | 'power'
  readonly stateDir?: string
}

/** What copies of exodos in a thread share: by state directory one process that waits for its death, and one listener. */
interface SharedByCopies {
  readonly waiters: Map<string, { readonly reason: string | undefined }>
  readonly leaving: Set<() => void>
}
const KEY = Symbol.for('exodos.guardians')
const holder = EventEmitter as unknown as { [KEY]?: SharedByCopies }

function shared(): SharedByCopies {
  if (holder[KEY]) return holder[KEY]
  const made: SharedByCopies = { waiters: new Map(), leaving: new Set() }
  holder[KEY] = made
  realProcess.once('exit', () => {
    for (const leave of made.leaving) leave()
  })
  return made
}

/** What a thread has from the one that has started it, which looks after it. */
const INHERITED = 'exodos.guardian'

const inherited = () => getEnvironmentData(INHERITED) as GuardianOptions | undefined

export const withInherited = (options: GuardianOptions): GuardianOptions => ({ ...inherited(), ...options })

/** The records of this thread, and who waits for its death. Made with the first record. */
export class Guardian {
  readonly records: Records
  private readonly stateDir: string | undefined
  private readonly dir: string | undefined
  private readonly waiter: { readonly reason: string | undefined }
  private readonly reason: string | undefined
  private isLeaving = false
  private isWaiting = false

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
    if (needsLease()) holdLease(dir)
    shared().leaving.add(() => {
      this.isLeaving = true
      this.whenEmpty(journal)
    })
    void findDead(state).then((dead) => dead.length > 0 && quietly(() => startRecovery(state)))
  }

  /** Is its directory removed already, while the process ends? Listeners of 'exit' may still want something. */
  get isOver(): boolean {
    return this.isLeaving && this.dir !== undefined && !existsSync(this.dir)
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
    // Of its own for each copy of exodos in this thread.
    const journal = new Journal(join(dir, `${randomBytes(6).toString('hex')}.journal`), durability, whenEmpty)
    return { state: found.path, dir, journal }
  } catch (error) {
    return { reason: (error as Error).message }
  }
}

function waiterFor(options: Required<GuardianOptions>): { readonly reason: string | undefined } {
  const state = options.stateDir
  const { waiters } = shared()
  let waiter = waiters.get(state)
  if (!waiter) {
    if (!isMainThread && inherited()?.stateDir === state) return { reason: undefined }
    waiter = new Waiter(() => startWaiter(state))
    waiters.set(state, waiter)
    if (isMainThread) lookAfterThreads(options, state)
  }
  return waiter
}

function startWaiter(state: string): ChildProcess | undefined {
  const owner = thisOwner()
  const name = ownerName(owner)
  if (!hasShell()) return startNode(state, name)
  if (isMainThread) return startShell(state, `${owner.pid}.${owner.start}.`, name)
  startOrphan(state, name, join(ownersIn(state), name, 'pipe'))
  return undefined
}

/** What a thread has left behind is done as soon as it has ended. */
function lookAfterThreads(options: GuardianOptions, state: string): void {
  setEnvironmentData(INHERITED, { ...options })
  const recover = () => void recoverProcess(state, thisOwner())
  realProcess.on('worker', (worker: Worker) =>
    worker.once('exit', () => {
      recover()
      // The kernel may still show the thread for a moment.
      setTimeout(recover, 100).unref()
    }),
  )
}

/** Whoever can't see our pid asks here whether we live. */
function holdLease(dir: string): void {
  quietly(() => {
    const lease = leaseIn(dir)
    const server = createServer((socket) => socket.destroy())
    // Another copy of exodos has it.
    server.once('error', lease.close)
    // Ours, also in a worker of node:cluster.
    server.listen({ path: lease.path, exclusive: true }, lease.close).unref()
  })
}

/** What could not be done now is done at the next start. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}
