import type { ChildProcess } from 'node:child_process'
import { lstatSync, mkdirSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { isMainThread, threadId } from 'node:worker_threads'
import { findDead, ownersIn, removeOwner } from './claim.js'
import { Journal } from './journal.js'
import { needsLease, ownerName, thisOwner } from './owner.js'
import type { Action } from './record.js'
import { distrust, findStateDir } from './state-dir.js'
import { startRecovery, startWaiter } from './waiter.js'

/** What survives of this process just now, and why not more. */
export interface DurableStatus {
  /** Does somebody wait for our death? Otherwise records are done at the next start. */
  readonly guarded: boolean
  /** Where records are kept; undefined if they can't be. */
  readonly stateDir: string | undefined
  /** Why something doesn't hold; undefined if all does. */
  readonly reason: string | undefined
  /** Records that are neither done nor cancelled. */
  readonly records: number
}

export interface GuardianOptions {
  readonly durability?: 'process' | 'power'
  readonly stateDir?: string
}

/** A killed waiter is replaced; one that dies at once each time isn't. */
const MOST_WAITERS = 5

/** The records of this thread, and who waits for the death of its process. Made with the first record. */
export class Guardian {
  private readonly journal: Journal | undefined
  private readonly stateDir: string | undefined
  private reason: string | undefined
  private waiter: ChildProcess | undefined
  private waiters = 0
  private lease: Server | undefined

  constructor({ durability, stateDir }: GuardianOptions) {
    const found = findStateDir(stateDir)
    if ('reason' in found) {
      this.reason = `no directory for records: ${found.reason}`
      return
    }
    this.stateDir = found.path
    const owners = ownersIn(found.path)
    const dir = join(owners, ownerName(thisOwner()))
    mkdirSync(dir, { recursive: true, mode: 0o700 })
    for (const path of [owners, dir]) {
      const problem = distrust(lstatSync(path))
      if (problem) throw Object.assign(new Error(`${path} ${problem}`), { code: 'EACCES' })
    }
    this.journal = new Journal(join(dir, `${threadId}.journal`), durability)
    if (!isMainThread) {
      this.reason =
        'a worker thread: its records are done by the guardian of the main thread if that has one, else at the next start'
      return
    }
    this.wait()
    if (needsLease()) this.listen(join(dir, 'lease'))
    process.once('exit', () => this.journal?.count === 0 && removeOwner(dir))
    void findDead(found.path).then((dead) => dead.length > 0 && startRecovery(found.path))
  }

  add(action: Action): number {
    if (!this.journal) return 0
    return this.journal.add(action)
  }

  amend(id: number, action: Action): void {
    this.journal?.amend(id, action)
  }

  remove(id: number): void {
    this.journal?.remove(id)
  }

  status(): DurableStatus {
    return {
      guarded: this.waiter !== undefined,
      stateDir: this.stateDir,
      reason: this.reason,
      records: this.journal?.count ?? 0,
    }
  }

  private wait(): void {
    if (this.waiters++ >= MOST_WAITERS) {
      this.reason = 'the guardian was killed again and again'
      return
    }
    try {
      const child = startWaiter(this.stateDir as string, ownerName(thisOwner()))
      this.waiter = child
      if (!child) this.reason = 'no guardian: there is no /bin/sh'
      child?.once('exit', () => {
        this.waiter = undefined
        this.wait()
      })
    } catch (error) {
      this.reason = `no guardian: ${(error as Error).message}`
    }
  }

  /** Whoever can't see our pid asks here whether we live. */
  private listen(path: string): void {
    this.lease = createServer((socket) => socket.destroy())
    this.lease.on('error', () => {})
    this.lease.listen(path).unref()
  }
}
