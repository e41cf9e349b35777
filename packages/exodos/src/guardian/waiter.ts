import type { ChildProcess } from 'node:child_process'
import { clock } from '../process/clock.js'

/** A killed waiter is replaced, but not more often than this within a minute. */
const MOST = 5
const MINUTE = 60_000

/** Keeps a process going that waits for our death. */
export class Waiter {
  /** Why there is none; undefined while there is one. */
  reason: string | undefined
  private started: number[] = []
  /** Of one that doesn't tell us of its end, as it is no child of ours. */
  private pid: number | undefined

  constructor(private readonly start: () => ChildProcess | number) {
    this.begin()
  }

  /** To be called now and then. */
  check(): void {
    if (this.pid !== undefined && !isThere(this.pid)) this.begin()
    else if (this.reason !== undefined && clock.now() - (this.started.at(-1) as number) > MINUTE) this.begin()
  }

  private begin(): void {
    const now = clock.now()
    this.started = [...this.started.filter((time) => now - time < MINUTE), now]
    if (this.started.length > MOST) {
      this.reason = 'the guardian was killed again and again'
      return
    }
    try {
      const waiter = this.start()
      if (typeof waiter === 'number') this.pid = waiter
      else waiter.once('exit', () => this.begin())
      this.reason = undefined
    } catch (error) {
      this.reason = `no guardian: ${(error as Error).message}`
    }
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
