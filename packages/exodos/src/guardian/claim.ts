import { lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync, writeFileSync } from 'node:fs'
import { join, parse } from 'node:path'
import { setTimeout } from 'node:timers'
import { act } from './actions.js'
import { type Entry, note, readJournal } from './journal.js'
import { isElsewhere, isLeaseHeld, isSurelyDead, type Owner, ownerName, parseOwner, thisOwner } from './owner.js'
import type { Action } from './record.js'
import { distrust } from './state-dir.js'
import { runSteps } from './steps.js'

/** What was done for owners that died. */
export interface Recovered {
  done: Action[]
  /** Left alone, and why. */
  left: { action: Action; reason: string }[]
  /** Tried in vain, and kept in `failed/`. */
  failed: { action: Action; error: string }[]
}

export const nothing = (): Recovered => ({ done: [], left: [], failed: [] })

/** Where the owners have their directories. */
export const ownersIn = (state: string) => join(state, 'owners')

/** Milliseconds before the second, third, … try. */
const BACKOFF = [100, 500, 2000]
/** Those of processes that died over it count, too. */
const MOST_TRIES = 10

/** Between an owner and the one who has claimed its records; a claim is claimed in the same way when the claimer has died. */
const BY = '~'

/** An owner that has died with something left to be done. */
interface Dead {
  readonly owner: Owner
  readonly name: string
}

/** Does what dead owners have left behind. */
export async function recover(state: string): Promise<Recovered> {
  const recovered = nothing()
  for (const dead of await findDead(state)) await takeOver(state, dead, recovered)
  return recovered
}

/** What `recover` would do. */
export async function wouldRecover(state: string): Promise<Action[]> {
  const dead = await findDead(state)
  return dead.flatMap(({ name }) => entriesIn(join(ownersIn(state), name)).map(({ action }) => action))
}

/** Does what this owner has left behind, unless somebody else does. */
export async function recoverOwner(state: string, owner: Owner): Promise<Recovered> {
  const recovered = nothing()
  await takeOver(state, { owner, name: ownerName(owner) }, recovered)
  return recovered
}

/** Those that have left nothing to be done are forgotten. */
export async function findDead(state: string): Promise<Dead[]> {
  const dead: Dead[] = []
  for (const name of list(ownersIn(state))) {
    const [first = '', by] = name.split(BY)
    const owner = parseOwner(first)
    const holder = by === undefined ? owner : parseOwner(by)
    const dir = join(ownersIn(state), name)
    if (!owner || !holder || !(await isDead(holder, dir))) continue
    if (isEmpty(dir)) removeOwner(dir)
    else dead.push({ owner, name })
  }
  return dead
}

async function isDead(owner: Owner, dir: string): Promise<boolean> {
  return isSurelyDead(owner) || (isElsewhere(owner) && (await isLeaseHeld(join(dir, 'lease'))) === false)
}

/** Whoever renames the directory has it: for all others it is gone. */
async function takeOver(state: string, { owner, name }: Dead, recovered: Recovered): Promise<void> {
  const from = join(ownersIn(state), name)
  const dir = join(ownersIn(state), `${ownerName(owner)}${BY}${ownerName(thisOwner())}`)
  try {
    if (distrust(lstatSync(from))) return
    renameSync(from, dir)
  } catch {
    return
  }
  for (const entry of entriesIn(dir)) await settle(state, dir, entry, recovered)
  removeOwner(dir)
}

/**
 * Tries an action until it is done, or hopeless. What is over is noted at once: whoever claims after our death doesn't do it
 * again.
 */
async function settle(state: string, dir: string, entry: Found, recovered: Recovered): Promise<void> {
  const { action, id } = entry
  const journal = join(dir, entry.journal)
  let { tries, error = '' } = entry
  const over = () => note(journal, { off: id })
  for (const pause of [0, ...BACKOFF]) {
    if (tries >= MOST_TRIES) break
    await sleep(pause)
    try {
      const outcome = await runSteps(act(action))
      over()
      if ('left' in outcome) recovered.left.push({ action, reason: outcome.left })
      else recovered.done.push(action)
      return
    } catch (problem) {
      error = problem instanceof Error ? problem.message : String(problem)
      note(journal, { failed: id, error })
      tries++
    }
  }
  keep(state, `${parse(dir).name}-${entry.journal}-${id}.json`, { action, error, at: entry.at })
  over()
  recovered.failed.push({ action, error })
}

function keep(state: string, name: string, failure: object): void {
  const dir = join(state, 'failed')
  mkdirSync(dir, { recursive: true, mode: 0o700 })
  writeFileSync(join(dir, name), JSON.stringify(failure), { mode: 0o600 })
}

/** An owner's directory, of which nothing is needed any more. */
export function removeOwner(dir: string): void {
  try {
    for (const name of list(dir)) unlinkSync(join(dir, name))
    rmdirSync(dir)
  } catch {
    // Somebody else has removed it, or adds to it: the next one sees.
  }
}

interface Found extends Entry {
  readonly journal: string
}

/** Of all threads, newest first. */
function entriesIn(dir: string): Found[] {
  return journalsIn(dir)
    .flatMap((journal) => read(join(dir, journal)).map((entry) => ({ ...entry, journal })))
    .sort((a, b) => b.at - a.at || b.id - a.id)
}

function isEmpty(dir: string): boolean {
  return journalsIn(dir).every((name) => statSync(join(dir, name)).size === 0)
}

const journalsIn = (dir: string) => list(dir).filter((name) => name.endsWith('.journal'))

function list(dir: string): string[] {
  try {
    return readdirSync(dir)
  } catch {
    return []
  }
}

/** A journal that isn't ours alone isn't believed. */
function read(path: string): Entry[] {
  try {
    return distrust(lstatSync(path)) ? [] : readJournal(path)
  } catch {
    return []
  }
}

const sleep = (ms: number) => new Promise<void>((resolve) => void setTimeout(resolve, ms))
