import { invalid, refuseUnknown } from './errors.js'
import type { HookOptions } from './hook.js'

export interface TrackOptions {
  /** Shown when it hangs: "mail: send". Default `tracked work`. */
  name?: string
  /** At exit: `finish` (default) waits for it in `drain`, `abandon` doesn't. */
  onExit?: 'finish' | 'abandon'
}

/** Registers a hook, as `onExit` does; returns how to take it off. */
type Register = (fn: () => unknown, options: HookOptions) => () => void

const ignore = () => {}

/** Makes `track` out of a way to register hooks. */
export function makeTrack(register: Register): <T>(work: PromiseLike<T>, options?: TrackOptions) => Promise<T> {
  return (work, options = {}) => {
    if (typeof work?.then !== 'function') throw invalid('track(promise)', 'a promise', work)
    refuseUnknown('options', options, ['name', 'onExit'])
    const { name = 'tracked work', onExit = 'finish' } = options
    if (onExit !== 'finish' && onExit !== 'abandon') throw invalid('options.onExit', "'finish' or 'abandon'", onExit)
    const promise = Promise.resolve(work)
    if (onExit === 'abandon') return promise
    // Only waited for: how it ends is the business of whoever has the promise.
    const settled = promise.then(ignore, ignore)
    const done = register(() => settled, { name, phase: 'drain' })
    // The promise handed back is the one after the bookkeeping: a rejection nobody handles stays visible.
    return promise.finally(done)
  }
}
