import { createHistogram, type RecordableHistogram } from 'node:perf_hooks'
import type { WorkerStats } from '../engine/engine.js'

/** Milliseconds. */
export interface Times {
  readonly count: number
  readonly mean: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export interface PoolStats {
  readonly workers: readonly WorkerStats[]
  /** Tasks that wait for a worker. */
  readonly queued: number
  /** Tasks that a worker has been given. */
  readonly running: number
  /** Tasks whose promise has resolved, and those whose promise has rejected, for whatever reason. */
  readonly done: number
  readonly failed: number
  /** Tasks that were run once more, after the death of a worker. */
  readonly rerun: number
  /** From `run` to the end of the task. */
  readonly latency: Times
  /** In the worker. */
  readonly runTime: Times
}

/** Counts tasks. Two calls of a histogram are some 60 ns a task. */
export class Counts {
  done = 0
  failed = 0
  rerun = 0
  private readonly latency = createHistogram()
  private readonly runTime = createHistogram()

  /** Of a task that has ended in its worker, in milliseconds. */
  add(latency: number, runTime: number): void {
    record(this.latency, latency)
    record(this.runTime, runTime)
  }

  stats(workers: WorkerStats[], queued: number, running: number): PoolStats {
    const { done, failed, rerun } = this
    return { workers, queued, running, done, failed, rerun, latency: timesOf(this.latency), runTime: timesOf(this.runTime) }
  }
}

/** It counts nanoseconds, from 1 on. */
const record = (histogram: RecordableHistogram, ms: number) => histogram.record(Math.max(1, Math.round(ms * 1e6)))

function timesOf(histogram: RecordableHistogram): Times {
  const { count } = histogram
  const ms = (ns: number) => (count === 0 ? 0 : ns / 1e6)
  return {
    count,
    mean: ms(histogram.mean),
    p50: ms(histogram.percentile(50)),
    p99: ms(histogram.percentile(99)),
    max: ms(histogram.max),
  }
}
