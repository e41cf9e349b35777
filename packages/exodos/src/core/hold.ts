import { type HookRecord, makeRecord, type Place } from './hook.js'

const ignore = () => {}

/** A failure that nobody else can handle is an unhandled rejection, although somebody waits for the end. */
export function leaveUnhandled(result: PromiseLike<unknown>): void {
  result.then(ignore)
}

/** Makes an exit wait for the end of something that is being cleaned up outside of any scope. */
export function holdExit(add: (record: HookRecord) => Place, record: HookRecord, result: PromiseLike<unknown>): void {
  const promise = Promise.resolve(result)
  const { name, priority, guest, site, context } = record
  const held = makeRecord(() => promise.then(ignore, ignore), { name, priority }, guest, site, context)
  try {
    add(held)
  } catch {
    // The process is leaving already: nothing waits any more.
  }
  const off = () => void held.place?.remove()
  promise.then(off, off)
}
