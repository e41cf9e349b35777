import { clock } from '../../process/clock.js'
import { act, type IsWanted } from '../actions/act.js'
import { runSteps } from '../actions/steps.js'
import type { Action, Outcome } from '../records/action.js'
import type { Entry } from '../records/lines.js'
import type { Owner } from '../records/owner.js'

/** What was done for owners that died. */
export interface Recovered {
  done: Action[]
  /** Left alone, and why. */
  left: { action: Action; reason: string }[]
  /** Tried in vain, and kept for the next time. */
  failed: { action: Action; error: string }[]
}

export const nothing = (): Recovered => ({ done: [], left: [], failed: [] })

/** Where it is noted at once what has become of an entry: whoever goes on after our death doesn't do it again. */
export interface Ledger<E extends Entry> {
  trying(entry: E): void
  /** Throws when it can't be noted. */
  amend(entry: E, action: Action): void
  over(entry: E): void
  failed(entry: E, error: string): void
  left(entry: E, reason: string): void
}

/** Milliseconds before the second, third, … try. */
const BACKOFF = [100, 500, 2000]
/** Those of processes that died over it count, too. */
export const MOST_TRIES = 10

/** Tries each, newest first, then those that have failed once more after each pause; what fails at last is told. */
export async function settle<E extends Entry>(
  entries: readonly E[],
  owner: Owner,
  isWanted: IsWanted,
  ledger: Ledger<E>,
  recovered: Recovered,
  pauses: readonly number[] = BACKOFF,
): Promise<void> {
  const actions = new Map(entries.map((entry) => [entry, entry.action]))
  const errors = new Map(entries.map((entry) => [entry, entry.error ?? '']))
  // What has ended somebody may end us as well: the others come first.
  let rest = [...entries.filter((entry) => entry.isFatal), ...entries.filter((entry) => !entry.isFatal)].reverse()
  for (const pause of [0, ...pauses]) {
    if (rest.length > 0) await sleep(pause)
    const failed: E[] = []
    const attempt = async (entry: E) => {
      const amend = (action: Action) => {
        ledger.amend(entry, action)
        actions.set(entry, action)
      }
      try {
        quietly(() => ledger.trying(entry))
        book(entry, await runSteps(act(actions.get(entry) as Action, isWanted, { owner, amend })), ledger, recovered)
      } catch (problem) {
        const error = problem instanceof Error ? problem.message : String(problem)
        errors.set(entry, error)
        failed.push(entry)
        quietly(() => ledger.failed(entry, error))
      }
    }
    for (const together of sideBySide(rest)) await Promise.all(together.map(attempt))
    rest = failed
  }
  recovered.failed.push(...rest.map((entry) => ({ action: entry.action, error: errors.get(entry) as string })))
}

/** In their order; but processes that were started with nothing in between are ended together, as each may take its time. */
function sideBySide<E extends Entry>(entries: readonly E[]): E[][] {
  const groups: E[][] = []
  for (const entry of entries) {
    const last = groups.at(-1)
    if (last && entry.action.kind === 'process' && last[0]?.action.kind === 'process') last.push(entry)
    else groups.push([entry])
  }
  return groups
}

function book<E extends Entry>(entry: E, outcome: Outcome, ledger: Ledger<E>, { left, done }: Recovered): void {
  if (!('left' in outcome)) {
    done.push(entry.action)
    quietly(() => ledger.over(entry))
    return
  }
  left.push({ action: entry.action, reason: outcome.left })
  quietly(() => (outcome.handedOver ? ledger.over(entry) : ledger.left(entry, outcome.left)))
}

/** With a full disk it can't be noted; then it may be done once more. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => void clock.wait(ms, resolve))
