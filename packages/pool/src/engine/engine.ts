import type { Exit } from '../shared/errors.js'
import type { Job } from './job.js'

/** What has become of a pool's workers and tasks. */
export interface Closed {
  /** Workers whose `dispose` has ended well. */
  readonly disposed: number
  /** Workers that couldn't call it, for which their receipts were, or will be, done. */
  readonly rescued: number
  /** Workers that couldn't call it, and have left no receipts; those whose `dispose` has failed included. */
  readonly killed: number
  /** Tasks that have ended, well or not. */
  readonly tasksDone: number
  /** Tasks that were not started, and were handed back to the caller: their promises have rejected. */
  readonly tasksHandedOver: number
}

export interface WorkerStats {
  readonly worker: number
  readonly state: 'starting' | 'ready' | 'leaving'
  readonly pid: number | undefined
  readonly threadId: number | undefined
  /** Tasks it has been given and not yet done, and those it has done. */
  readonly running: number
  readonly done: number
}

/** Tells what happens to workers; all else is told by the promises. */
export interface EngineEvents {
  /** A task was started, as far as anybody knows, and is run once more. */
  rerun(job: Job, exit: Exit): void
  /** A worker has ended that had nothing to do, so that no task tells of it. */
  died(words: string): void
  /** Nothing waits and nothing runs any more, or something does again. */
  busy(isBusy: boolean): void
  /** A task has ended, so many milliseconds after it was submitted; `took` of them in its worker. */
  done(latency: number, took: number): void
}

/** Runs tasks, by workers of its own or elsewhere. */
export interface Engine {
  /** Resolves when the first workers are ready; rejects when one of them can't be started. */
  readonly ready: Promise<void>
  /** Tasks that wait for a worker. */
  readonly queued: number
  /** Those of them that wait for a worker that has something else to do. */
  readonly backlog: number
  /** Tasks that a worker has been given. */
  readonly running: number
  /** Settles the job, whatever happens. */
  submit(job: Job): void
  /** A job for each worker there is, made by `make`. */
  broadcast(make: () => Job): void
  /** Rejects the job: it isn't started any more, or is asked to end. */
  abort(job: Job, reason: unknown): void
  /** Resolves when the backlog is below `most`. */
  room(most: number): Promise<void>
  /** Resolves when nothing waits and nothing runs. */
  idle(): Promise<void>
  /**
   * Hands back what waits, aborts what runs, and has each worker dispose of what it owns within `dispose` milliseconds; who has
   * not left `margin` milliseconds later is ended.
   */
  close(error: Error, dispose: number, margin?: number): Promise<Closed>
  /** What can be done of that where nothing can be waited for. */
  closeSync(): void
  workers(): WorkerStats[]
  /** What it is at, for reports: `2 running (resize in thread 3, resize in thread 4), 10 queued`. */
  words(): string
}
