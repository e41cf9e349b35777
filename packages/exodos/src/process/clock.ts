import { BEAT, type Clock } from '../core/deadline.js'
import { builtin, realProcess } from './real.js'

// Held from the start: a test framework that later fakes time must not freeze a run.
const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate } =
  builtin<typeof import('node:timers')>('node:timers')
const { cpuUsage, uptime } = realProcess

export const clock: Clock = {
  /** The age of the process: monotonic, and the one clock that nobody fakes. */
  now: () => uptime() * 1000,
  busy() {
    const { user, system } = cpuUsage()
    return (user + system) / 1000
  },
  wait(ms, callback) {
    if (areFaked) return waitUnfaked(ms, callback)
    const timer = setTimeout(callback, ms)
    return () => clearTimeout(timer)
  },
  soon(callback) {
    if (areFaked) return waitUnfaked(0, callback)
    const immediate = setImmediate(callback)
    return () => clearImmediate(immediate)
  },
}

/** Calls back after `ms` if the event loop is still alive then; holds nothing. */
export function ifStillAlive(ms: number, callback: () => void): void {
  setTimeout(callback, ms).unref()
}

/** Milliseconds between two looks at what seldom changes. */
const LOOK = 250

/** These call back again and again while the event loop turns, and hold nothing. They return how to stop it. */
export const atEachBeat = (callback: () => void): (() => void) => every(BEAT, callback)
export const atEachLook = (callback: () => void): (() => void) => every(LOOK, callback)

function every(ms: number, callback: () => void): () => void {
  const timer = setInterval(callback, ms)
  timer.unref?.()
  return () => clearInterval(timer)
}

/** Calls back when the event loop has turned, if it does; holds nothing. */
export function ifLoopTurns(callback: () => void): void {
  setImmediate(callback).unref?.()
}

/** Loaded when time was faked already: fake timers carry the clock that drives them. */
export const areFaked = 'clock' in setTimeout

/** A timer of Node's own that no framework replaces. It holds nothing, which a test doesn't need: its runner does. */
function waitUnfaked(ms: number, callback: () => void): () => void {
  const signal = AbortSignal.timeout(Math.ceil(ms))
  signal.addEventListener('abort', callback)
  return () => signal.removeEventListener('abort', callback)
}
