/**
 * Pools of threads and processes whose workers own resources: opened once in each, closed exactly once, whichever way a worker
 * goes.
 *
 * @packageDocumentation
 */
export type { Closed, WorkerStats } from './engine/engine.js'
export type { RunOptions } from './engine/job.js'
export type {
  CrashPolicy,
  EngineName,
  PoolOptions,
  RecycleOptions,
  SizeOptions,
  TimeoutOptions,
} from './engine/options.js'
export { type CloseOptions, createPool, type DataOption, type MapOptions, type Pool, type PoolOf } from './pool/pool.js'
export type { Results } from './pool/results.js'
export type { PoolStats, Times } from './pool/stats.js'
export type { Duration } from './shared/duration.js'
export { type Exit, PoolError, type PoolErrorCode, WorkerDiedError } from './shared/errors.js'
export * from './worker.js'
