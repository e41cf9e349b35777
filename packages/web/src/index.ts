/**
 * Graceful shutdown of web servers: drain without a lost request, and probes.
 *
 * @packageDocumentation
 */
export { type Drain, drainHttp } from './drain/drain.js'
export { drainEveryServer } from './drain/every.js'
export type { BacklogPolicy, DrainOptions, EventStreamPolicy } from './drain/options.js'
export type { DrainStats } from './drain/stats.js'
export type { HttpServer } from './input/server.js'
export type { CheckFunction, CheckOptions, CheckResult } from './probes/checks.js'
export { type Probes, type ProbesOptions, probes } from './probes/probes.js'
export { notReady, ready } from './probes/readiness.js'
