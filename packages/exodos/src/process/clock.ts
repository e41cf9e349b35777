import type { Clock } from '../core/deadline.js'
import { builtin, realProcess } from './real.js'

// Held from the start: a test framework that later fakes time must not freeze a run.
const timers = { ...builtin<typeof import('node:timers')>('node:timers') }
const { hrtime, cpuUsage } = realProcess

export const clock: Clock = {
  now() {
    const [seconds, nanoseconds] = hrtime()
    return seconds * 1000 + nanoseconds / 1e6
  },
  busy() {
    const { user, system } = cpuUsage()
    return (user + system) / 1000
  },
  wait(ms, callback) {
    const timer = timers.setTimeout(callback, ms)
    return () => timers.clearTimeout(timer)
  },
  soon(callback) {
    const immediate = timers.setImmediate(callback)
    return () => timers.clearImmediate(immediate)
  },
}

/** Calls back after `ms` if the event loop is still alive then; holds nothing. */
export function ifStillAlive(ms: number, callback: () => void): void {
  timers.setTimeout(callback, ms).unref()
}
