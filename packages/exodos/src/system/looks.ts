import { sleepSync } from './sleep.js'

/** Milliseconds until the next look, or until something happens that the event loop hears of. */
export interface Look {
  readonly sleep: number
  readonly until?: Promise<unknown>
}

/** Work that looks again and again: whoever drives it decides how to wait, so that it can be done where the loop doesn't turn. */
export type Looks<T> = Generator<Look, T, unknown>

/** Without an event loop nothing is heard of: milliseconds between two looks, the first time and at most. */
const FIRST = 1
const LAST = 20

/** What timers take, in milliseconds. */
export const LONGEST = 2 ** 31 - 1

/** Waits while the event loop turns. */
export function look({ sleep, until }: Look): Promise<void> {
  return new Promise((resolve) => {
    const { clearTimeout, setImmediate, setTimeout } = process.getBuiltinModule('node:timers')
    const timer = setTimeout(resolve, Math.min(sleep, LONGEST))
    until?.then(() => {
      clearTimeout(timer)
      // What else ends in the same turn of the event loop is one look.
      setImmediate(resolve)
    })
  })
}

/** Does the work while the event loop turns; at once if there is nothing to wait for. */
export function lookAgain<T>(looks: Looks<T>): T | Promise<T> {
  const first = looks.next()
  return first.done ? first.value : goOn(looks, first.value)
}

async function goOn<T>(looks: Looks<T>, first: Look): Promise<T> {
  await look(first)
  let next = looks.next()
  while (!next.done) {
    await look(next.value)
    next = looks.next()
  }
  return next.value
}

/** Does it while nothing else happens. */
export function lookAgainSync<T>(looks: Looks<T>): T {
  let next = looks.next()
  for (let pause = FIRST; !next.done; pause = Math.min(2 * pause, LAST)) {
    const { sleep, until } = next.value
    sleepSync(until ? Math.min(sleep, pause) : sleep)
    next = looks.next()
  }
  return next.value
}

/** Several at the same time. When one is to look again, all do; what one throws doesn't stop the others. */
export function* together<T>(all: readonly Looks<T>[]): Looks<PromiseSettledResult<T>[]> {
  const results: PromiseSettledResult<T>[] = []
  const open = new Map(all.entries())
  while (open.size > 0) {
    const waits: Look[] = []
    for (const [i, looks] of open) {
      try {
        const next = looks.next()
        if (!next.done) {
          waits.push(next.value)
          continue
        }
        results[i] = { status: 'fulfilled', value: next.value }
      } catch (reason) {
        results[i] = { status: 'rejected', reason }
      }
      open.delete(i)
    }
    if (waits.length === 0) continue
    const until = waits.flatMap((wait) => wait.until ?? [])
    yield { sleep: Math.min(...waits.map((wait) => wait.sleep)), ...(until.length > 0 && { until: Promise.race(until) }) }
  }
  return results
}
