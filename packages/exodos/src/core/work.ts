import { type Duration, parseDuration } from './deadline.js'
import { checkOptions, invalid } from './errors.js'
import { type HookContext, type HookOptions, isAsyncFunction, type Registration } from './hook.js'

export interface TrackOptions {
  /** Shown when it hangs: "mail: send". Default `tracked work`. */
  name?: string
  /** At exit: `finish` (default) waits for it in `drain`, `abandon` doesn't. */
  onExit?: 'finish' | 'abandon'
  /** The most time that `drain` waits for it. Default: what the phase may use. */
  timeout?: Duration
  /**
   * Hands over what exodos doesn't wait for (any longer): called once, in `drain` for work to abandon, else in `save`
   * when the work has not settled by then. Not called for work that has settled meanwhile.
   */
  onAbandon?: (ctx: HookContext) => unknown
}

/** What became of tracked work since the process began. */
export interface TrackStats {
  /** Not settled yet. */
  running: number
  finished: number
  failed: number
  /** Given to `onAbandon`. */
  handedOver: number
}

/** Registers a hook, as `onExit` does. */
type Register = (fn: (ctx: HookContext) => unknown, options: HookOptions) => Registration

export interface Track {
  <T>(work: PromiseLike<T>, options?: TrackOptions): Promise<T>
  /** How much work is tracked in this process or worker thread, by all copies of exodos. */
  stats(): TrackStats
}

export const noWork = (): TrackStats => ({ running: 0, finished: 0, failed: 0, handedOver: 0 })

/** Makes `track` out of a way to register hooks, of one turn of the event loop, and of where the counts are kept. */
export function makeTrack(register: Register, turn: () => Promise<void>, counts: () => TrackStats): Track {
  const track = <T>(work: PromiseLike<T>, options: TrackOptions = {}): Promise<T> => {
    if (typeof work?.then !== 'function') throw invalid('track(promise)', 'a promise', work)
    checkOptions('track(promise, options)', options, ['name', 'onExit', 'timeout', 'onAbandon'])
    const { name = 'tracked work', onExit = 'finish', timeout, onAbandon } = options
    if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
    if (onExit !== 'finish' && onExit !== 'abandon') throw invalid('options.onExit', "'finish' or 'abandon'", onExit)
    if (onAbandon !== undefined && typeof onAbandon !== 'function') throw invalid('options.onAbandon', 'a function', onAbandon)
    const inDrain = {
      name,
      phase: 'drain' as const,
      ...(timeout !== undefined && { timeout: parseDuration(timeout, 'options.timeout') }),
    }
    const promise = Promise.resolve(work)
    let isOver = false
    const hooks: Registration[] = []

    const handOver = (ctx: HookContext) => {
      if (isOver || !onAbandon) return
      counts().handedOver++
      return onAbandon(ctx)
    }
    const sync = isAsyncFunction(onAbandon) && { sync: false }
    // Only waited for: how it ends is the business of whoever has the promise, who is given a turn to see to it.
    const finish = () => {
      // Registered now and not when the time is up, so that `save` keeps its share for it.
      if (onAbandon) hooks.push(register(handOver, { name: `${name}: hand over`, phase: 'save', after: [...hooks], ...sync }))
      return promise.then(turn, turn)
    }
    if (onExit === 'finish') hooks.push(register(finish, inDrain))
    else if (onAbandon) hooks.push(register(handOver, { ...inDrain, ...sync }))
    const settle = (how: 'finished' | 'failed') => {
      isOver = true
      const stats = counts()
      stats.running--
      stats[how]++
      for (const hook of hooks) hook.cancel()
    }
    counts().running++
    // The promise handed back is the one after the bookkeeping: a rejection nobody handles stays visible.
    return promise.then(
      (value) => {
        settle('finished')
        return value
      },
      (error) => {
        settle('failed')
        throw error
      },
    )
  }
  return Object.assign(track, { stats: () => ({ ...counts() }) })
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return (
    value !== null &&
    (typeof value === 'object' || typeof value === 'function') &&
    typeof (value as { then?: unknown }).then === 'function'
  )
}
