import { checkOptions, invalid } from './errors.js'
import type { HookOptions } from './hook.js'

export interface TrackOptions {
  /** Shown when it hangs: "mail: send". Default `tracked work`. */
  name?: string
  /** At exit: `finish` (default) waits for it in `drain`, `abandon` doesn't. */
  onExit?: 'finish' | 'abandon'
}

/** Registers a hook, as `onExit` does; returns how to take it off. */
type Register = (fn: () => unknown, options: HookOptions) => () => void

/** Makes `track` out of a way to register hooks and of one turn of the event loop. */
export function makeTrack(
  register: Register,
  turn: () => Promise<void>,
): <T>(work: PromiseLike<T>, options?: TrackOptions) => Promise<T> {
  return (work, options = {}) => {
    if (typeof work?.then !== 'function') throw invalid('track(promise)', 'a promise', work)
    checkOptions('track(promise, options)', options, ['name', 'onExit'])
    const { name = 'tracked work', onExit = 'finish' } = options
    if (onExit !== 'finish' && onExit !== 'abandon') throw invalid('options.onExit', "'finish' or 'abandon'", onExit)
    const promise = Promise.resolve(work)
    if (onExit === 'abandon') return promise
    // Only waited for: how it ends is the business of whoever has the promise, who is given a turn to see to it.
    const done = register(() => promise.then(turn, turn), { name, phase: 'drain' })
    // The promise handed back is the one after the bookkeeping: a rejection nobody handles stays visible.
    return promise.finally(done)
  }
}
