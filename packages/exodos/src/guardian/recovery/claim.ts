import { lstatSync, mkdirSync, readdirSync, renameSync, rmdirSync, statSync, unlinkSync } from 'node:fs'
import { basename, join } from 'node:path'
import { clock } from '../../process/clock.js'
import { randomHex } from '../../system/random.js'
import type { Action } from '../records/action.js'
import { Notes } from '../records/journal.js'
import { holdLease, isLeaseHeld } from '../records/lease.js'
import { type Entry, readJournal } from '../records/lines.js'
import {
  isElsewhere,
  isSameProcess,
  isSurelyDead,
  needsLease,
  type Owner,
  ownerName,
  parseOwner,
  thisOwner,
} from '../records/owner.js'
import { distrust } from '../records/state-dir.js'
import { journalsIn, Living } from './living.js'
import { type Ledger, MOST_TRIES, nothing, type Recovered, settle } from './settle.js'

/** Where the owners have their directories; and where those are kept of which something couldn't be done, or was left alone. */
export const ownersIn = (state: string) => join(state, 'owners')
export const failedIn = (state: string) => join(state, 'failed')

/** Between an owner and the one who has claimed its records; a claim is claimed in the same way when the claimer has died. */
const BY = '~'
/** Directories in `failed`; the oldest make room. */
const MOST_FAILED = 1000

/** The socket that an owner listens on where its pid doesn't tell. */
export const LEASE = 'lease'

/** An owner that has died with something left to be done. */
interface Dead {
  readonly owner: Owner
  readonly dir: string
}

/** Milliseconds in which others may finish what they are at. */
const PATIENCE = 10_000

/**
 * Does what dead owners have left behind, and once more what was kept; when it is over nobody else is at it either. Who asks
 * for it is told what was left alone, so that isn't kept any longer.
 */
export async function recover(state: string): Promise<Recovered> {
  const recovered = nothing()
  const kept = new Set<string | undefined>()
  const doAll = async () => {
    for (const dead of [...(await findDead(state)), ...findFailed(state)])
      if (!kept.has(dead.dir)) kept.add(await takeOver(state, dead, recovered, 'told'))
  }
  await doAll()
  await untilOthersAreDone(state)
  // What those have kept.
  await doAll()
  return recovered
}

async function untilOthersAreDone(state: string): Promise<void> {
  const end = clock.now() + PATIENCE
  while (clock.now() < end && (await isSomebodyAtIt(state))) await new Promise<void>((resolve) => void clock.wait(5, resolve))
}

/** Claims that we couldn't bring to an end. */
const given = new Set<string>()

async function isSomebodyAtIt(state: string): Promise<boolean> {
  for (const name of list(ownersIn(state))) {
    const by = parseOwner(name.split(BY)[1] ?? '')
    const dir = join(ownersIn(state), name)
    if (by && !given.has(dir) && !(await isDead(by, dir, state))) return true
  }
  return false
}

/** What `recover` would do. */
export async function wouldRecover(state: string): Promise<Recovered> {
  await untilOthersAreDone(state)
  const recovered = nothing()
  for (const { dir } of [...(await findDead(state)), ...findFailed(state)]) {
    for (const { action, left } of entriesIn(dir).reverse()) {
      if (left === undefined) recovered.done.push(action)
      else recovered.left.push({ action, reason: left })
    }
  }
  return recovered
}

/** Does what owners have left behind that have died and are meant, unless somebody else does. */
export async function recoverDead(state: string, isMeant: (owner: Owner) => boolean = () => true): Promise<void> {
  for (const dead of await findDead(state, isMeant)) await takeOver(state, dead, nothing(), 'alone')
}

/** Those of a process, and what it had claimed. */
export const recoverProcess = (state: string, process: Owner) => recoverDead(state, (owner) => isSameProcess(owner, process))

/** Those of threads of ours that have ended; what fails is left to whoever waits for our own death. */
export async function recoverThreads(state: string): Promise<void> {
  const dead = await findDead(state, (owner) => isSameProcess(owner, thisOwner()))
  for (const each of dead) await takeOver(state, each, nothing(), 'ours')
}

/** Those that have left nothing to be done are forgotten. */
export async function findDead(state: string, isMeant: (owner: Owner) => boolean = () => true): Promise<Dead[]> {
  const dead: Dead[] = []
  for (const name of list(ownersIn(state))) {
    const [first = '', by] = name.split(BY)
    const owner = parseOwner(first)
    const holder = by === undefined ? owner : parseOwner(by)
    const dir = join(ownersIn(state), name)
    try {
      if (
        !owner ||
        !holder ||
        !(isMeant(owner) || isMeant(holder)) ||
        distrust(lstatSync(dir)) ||
        !(await isDead(holder, dir, state))
      )
        continue
      if (isEmpty(dir)) removeOwner(dir)
      else dead.push({ owner, dir })
    } catch {
      // Somebody else has just claimed it; or it can't be looked at now, which shall not hinder the others.
    }
  }
  return dead
}

/** What would be done for a process if it died now. */
export function recordsOf(state: string, process: { readonly pid: number; readonly start: string }): Action[] {
  const own = list(ownersIn(state)).filter((name) => {
    const owner = parseOwner(name)
    return owner?.pid === process.pid && owner.start === process.start
  })
  const journals = own.flatMap((name) => journalsIn(join(ownersIn(state), name)))
  return journals.flatMap((journal) => readJournal(journal).map(({ action }) => action))
}

/** How many directories of dead owners are kept. */
export const countFailed = (state: string) => list(failedIn(state)).length

function findFailed(state: string): Dead[] {
  return list(failedIn(state)).flatMap((name) => {
    const owner = parseOwner(name.split(BY)[0] as string)
    return owner ? [{ owner, dir: join(failedIn(state), name) }] : []
  })
}

async function isDead(owner: Owner, dir: string, state: string): Promise<boolean> {
  return isSurelyDead(owner, state) || (isElsewhere(owner) && (await isLeaseHeld(dir, leaseOf(dir))) === false)
}

/** Who has claimed a directory has a lease of his own in it. */
function leaseOf(dir: string): string {
  const [, , claim] = basename(dir).split(BY)
  return claim === undefined ? LEASE : `${LEASE}-${claim}`
}

/** Somebody reads what has come of it; nobody does; or it is a thread of ours, so that somebody will try again. */
type Manner = 'told' | 'alone' | 'ours'

/** Whoever renames the directory has it: for all others it is gone. Returns where it is kept, if something is left to be done. */
async function takeOver(
  state: string,
  { owner, dir: from }: Dead,
  recovered: Recovered,
  manner: Manner,
): Promise<string | undefined> {
  const dir = join(ownersIn(state), [ownerName(owner), ownerName(thisOwner()), random()].join(BY))
  let giveUp = () => {}
  try {
    if (distrust(lstatSync(from))) return undefined
    // First the lease: a claim without one could be taken for that of a dead claimer.
    if (needsLease()) giveUp = holdLease(from, leaseOf(dir))
    renameSync(from, dir)
  } catch {
    giveUp()
    return undefined
  }
  try {
    await doWhatIsIn(state, dir, owner, recovered, manner)
    if (entriesIn(dir).length === 0) removeOwner(dir)
    else if (manner === 'ours') given.add(dir)
    else return keep(state, owner, dir)
  } catch {
    // It can't be read, or not be moved: it stays, and is somebody else's when we have ended.
    given.add(dir)
  } finally {
    giveUp()
  }
  return undefined
}

async function doWhatIsIn(state: string, dir: string, owner: Owner, recovered: Recovered, manner: Manner): Promise<void> {
  const isTold = manner === 'told'
  const entries = entriesIn(dir)
  const earlier = entries.filter((entry) => entry.left !== undefined)
  const open = entries.filter((entry) => entry.left === undefined && (isTold || entry.tries < MOST_TRIES))
  recovered.left.push(...earlier.map(({ action, left = '' }) => ({ action, reason: left })))
  const living = new Living(state, ownersIn(state))
  const notes = new Notes()
  const ledger: Ledger<Found> = {
    trying: ({ journal, id }) => notes.add(journal, { trying: id }),
    amend: ({ journal, id }, action) => notes.add(journal, { id, is: action }),
    over: ({ journal, id }) => notes.add(journal, { off: id }),
    failed: ({ journal, id }, error) => notes.add(journal, { failed: id, error }),
    left: ({ journal, id }, reason) => notes.add(journal, { left: id, reason }),
  }
  try {
    await settle(open, owner, (path) => living.want(path), ledger, recovered, manner === 'ours' ? [] : undefined)
    if (isTold) for (const entry of entriesIn(dir).filter(({ left }) => left !== undefined)) ledger.over(entry)
  } finally {
    notes.close()
  }
}

function keep(state: string, owner: Owner, dir: string): string {
  const failed = failedIn(state)
  mkdirSync(failed, { recursive: true, mode: 0o700 })
  makeRoom(failed)
  const place = join(failed, [ownerName(owner), random()].join(BY))
  renameSync(dir, place)
  return place
}

function makeRoom(failed: string): void {
  const names = list(failed)
  if (names.length < MOST_FAILED) return
  const dirs = names.map((name) => join(failed, name))
  const times = new Map(dirs.map((dir) => [dir, statSync(dir, { throwIfNoEntry: false })?.mtimeMs ?? 0]))
  dirs.sort((a, b) => (times.get(a) as number) - (times.get(b) as number))
  for (const dir of dirs.slice(0, dirs.length + 1 - MOST_FAILED)) removeOwner(dir)
}

/** Removes an owner's directory, of which nothing is needed any more. */
export function removeOwner(dir: string): void {
  try {
    if (distrust(lstatSync(dir))) return
    for (const name of list(dir)) unlinkSync(join(dir, name))
    rmdirSync(dir)
  } catch {
    // Somebody else has removed it, or adds to it: the next one sees.
  }
}

interface Found extends Entry {
  readonly journal: string
}

/** Of all journals, oldest first. Throws when one can't be read: what is in there isn't known then. */
function entriesIn(dir: string): Found[] {
  return journalsIn(dir)
    .flatMap((journal) => readJournal(journal).map((entry) => ({ ...entry, journal })))
    .sort((a, b) => a.at - b.at || a.id - b.id)
}

/** Nothing is written down in it. */
export function isEmpty(dir: string): boolean {
  return journalsIn(dir).every((journal) => (statSync(journal, { throwIfNoEntry: false })?.size ?? 0) === 0)
}

function list(dir: string): string[] {
  try {
    return readdirSync(dir)
  } catch {
    return []
  }
}

const random = () => randomHex(6)
