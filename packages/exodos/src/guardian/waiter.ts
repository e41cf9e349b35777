import type { ChildProcess } from 'node:child_process'

/** A killed waiter is replaced; one that is killed so often within a minute isn't. */
const MOST = 5
const MINUTE = 60_000

/** A process that waits for our death. */
export class Waiter {
  /** Why there is none; undefined while there is one. */
  reason: string | undefined
  private started: number[] = []

  /** `start` returns the one to be replaced when it ends. */
  constructor(private readonly start: () => ChildProcess | undefined) {
    this.begin()
  }

  private begin(): void {
    const now = performance.now()
    this.started = [...this.started.filter((time) => now - time < MINUTE), now]
    if (this.started.length > MOST) {
      this.reason = 'the guardian was killed again and again'
      return
    }
    try {
      this.start()?.once('exit', () => this.begin())
      this.reason = undefined
    } catch (error) {
      this.reason = `no guardian: ${(error as Error).message}`
    }
  }
}
