import { exiting, type HookContext, onExit, type Registration } from 'exodos'
import { invalid } from '../input/input.js'
import { tellPm2 } from './pm2.js'
import { hasSystemd, MARGIN, tellSystemd } from './systemd.js'

/** What the process says of itself: checks are not part of it. */
export interface Readiness {
  readonly status: 'ok' | 'not ready' | 'leaving'
  /** As given to `notReady`. */
  readonly reason?: string
}

const NOT_READY: Readiness = { status: 'not ready' }
let now = NOT_READY
let started = false
let hook: Registration | undefined
const waiting = new Set<() => void>()

/**
 * Says that this process can take requests: readiness and start-up probes answer 200 from now on. The first call also
 * tells systemd (`READY=1`) and PM2 (`ready`) where they have started this process and wait for it.
 *
 * It may be given to `listen` as it is: an error that comes with the call, as Express has it for a port that is taken, is thrown.
 *
 * Once leaving has begun it does nothing. It is a matter of this process, or worker thread, and not of a server.
 */
export function ready(listened?: unknown): void {
  if (listened instanceof Error) throw listened
  if (exiting.aborted) return
  announceAtExit()
  now = { status: 'ok' }
  if (started) return
  started = true
  tellPm2()
  if (hasSystemd()) tellSystemd(['READY=1'])
}

/**
 * Says that this process can't take requests for now: readiness answers 503 until the next `ready()`. `reason` is shown
 * in the answer. Throws `ERR_EXODOS_INVALID_ARG` for a reason that is no string.
 */
export function notReady(reason?: string): void {
  if (reason !== undefined && typeof reason !== 'string') throw invalid('notReady(reason)', 'a string', reason)
  if (now.status !== 'leaving') now = reason === undefined ? NOT_READY : { ...NOT_READY, reason }
}

/** Not ready any more. For good when the process leaves; after an explicit run of the hooks `ready()` begins anew. */
export function leave(): void {
  now = { status: 'leaving' }
  for (const callback of waiting) callback()
  waiting.clear()
}

export function readiness(): Readiness {
  return now
}

/** Was `ready()` ever called? */
export function hasStarted(): boolean {
  return started
}

/** Waits for the promise, or until leaving begins, whatever comes first. */
export function unlessLeaving<T>(promise: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const callback = () => resolve(undefined)
    waiting.add(callback)
    promise.then(resolve, reject).finally(() => waiting.delete(callback))
  })
}

/** From now on leaving is noticed, and told. */
export function announceAtExit(): void {
  if (exiting.aborted) {
    leave()
    return
  }
  // Anew each time: after a run, and after a test with exits of its own, the last one is gone.
  hook?.cancel()
  hook = onExit(announce, { name: 'readiness', phase: 'announce', sync: leave })
}

/** Returns nothing where there is nobody to be told: a program of synchronous hooks stays synchronous. */
function announce(ctx: HookContext): Promise<void> | undefined {
  leave()
  if (!exiting.aborted || !hasSystemd()) return undefined
  const limit = ctx.remaining()
  // Of the whole run: a lease is granted up to its end.
  const ms = ctx.extend('1h') + MARGIN
  return tellSystemd(['STOPPING=1', `EXTEND_TIMEOUT_USEC=${Math.ceil(ms) * 1000}`], limit)
}
