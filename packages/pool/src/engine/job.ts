import { clearTimeout } from 'node:timers'
import type { Duration } from '../shared/duration.js'
import type { Transferable } from '../shared/protocol.js'
import type { Estimate } from './estimate.js'
import type { Queue } from './queue.js'

export interface RunOptions {
  /** Asks the task to end (`ctx.signal`), and rejects at once with the signal's reason; a task that goes on loses its worker. */
  signal?: AbortSignal
  /** The same when it has run for so long; rejects with `ERR_EXODOS_TASK_TIMEOUT`. Default 0: no limit. */
  timeout?: Duration
  /** Higher ones are run first. Default 0. */
  priority?: number
  /** Tasks of the same key are run by the same worker as long as that lives, in their order. */
  key?: string | number
  /** Parts of the input that are handed over instead of being copied: threads only. They can't be used here afterwards. */
  transfer?: readonly Transferable[]
  /** Called with what the task tells by `ctx.progress`. */
  onProgress?: (value: unknown) => void
}

/** Tasks whose promise has resolved, and those whose promise has rejected. */
export interface Tally {
  done: number
  failed: number
}

/** A task on its way. Whoever takes it from one state to the next settles it at most once. */
export class Job {
  readonly result: Promise<unknown>
  private onResult!: (value: unknown) => void
  private onError!: (error: unknown) => void
  /** `over`: its promise is settled; a worker may still be at it. */
  state: 'queued' | 'sent' | 'over' = 'queued'
  priority = 0
  /** Wants the worker that this leads to. */
  key: string | number | undefined
  timeout = 0
  /** Somebody may want it to end: it has to be known when it begins. */
  isWatched = false
  /** It has told how far it is, so it has begun. */
  hasTold = false
  transfer: readonly Transferable[] | undefined
  onProgress: ((value: unknown) => void) | undefined
  /** Where it waits, and goes back to. */
  home: Queue | undefined
  /** Of its worker. */
  seq = 0
  /** Milliseconds that it is expected to take, when it was sent. */
  cost = 0
  /** So often it was begun by a worker that died over it, and so often one died before it had begun it. */
  tries = 0
  deaths = 0
  timer: NodeJS.Timeout | undefined
  /** Called when it is over. */
  cleanUp: (() => void) | undefined

  constructor(
    readonly task: string,
    readonly input: unknown,
    readonly queuedAt: number,
    readonly estimate: Estimate,
    private readonly tally: Tally,
  ) {
    this.result = new Promise((resolve, reject) => {
      this.onResult = resolve
      this.onError = reject
    })
  }

  resolve(value: unknown): void {
    if (!this.finish()) return
    this.tally.done++
    this.onResult(value)
  }

  reject(error: unknown): void {
    if (!this.finish()) return
    this.tally.failed++
    this.onError(error)
  }

  private finish(): boolean {
    if (this.state === 'over') return false
    this.state = 'over'
    this.stopTimer()
    this.cleanUp?.()
    return true
  }

  /** It doesn't run, or not any more. */
  stopTimer(): void {
    if (this.timer) clearTimeout(this.timer)
    this.timer = undefined
  }
}
