import {
  closeSync,
  fdatasyncSync,
  linkSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { ExodosError, invalid } from '../../core/errors.js'
import { randomHex } from '../../system/random.js'
import { sleepSync } from '../../system/sleep.js'
import { DONE, type LockAction, type Outcome } from '../records/action.js'
import { isSameProcess, type Owner, isSurelyDead as ownerIsSurelyDead, thisOwner } from '../records/owner.js'
import type { Steps } from './steps.js'

/*
 * A lock is a file that names its holder: a token, used for this one time, and the process. While the lock is held, that
 * file is all there is. It can be taken from a holder only when that one is surely dead: not when it is slow, stopped, or
 * has a blocked loop.
 *
 *   PATH               the lock
 *   PATH.TOKEN.heir    who comes after TOKEN, which is dead
 *
 * Both are symbolic links to nowhere, whose target is the text: they come into being together with it, or not at all if
 * there is one already, and still have it after a power failure, without an fsync. On Windows they are files, linked from
 * PATH.TOKEN.
 *
 * A free lock is taken by making PATH. After a dead holder the line of heirs decides: everybody goes from the holder to its
 * heir, from there, if the heir is dead, to the heir's heir, and so on, and makes itself the heir of the last. One succeeds.
 * It then looks whether PATH still names the holder that it began with. If so, it alone may replace PATH: it renames its
 * heir file to PATH. If not, it removes its heir file and begins again.
 *
 * Why there are never two holders. Tokens are never used again, so a PATH that names D after a heir was made has named D all
 * the time since it was read. As long as it names D, the line of D only grows. For an heir file is removed by the one that
 * made it, which is alive then, so that nobody has gone past it; or by somebody who tidies up, who has seen the file, and
 * after that PATH free or held by one who lives: then the file belongs to the line of an earlier holder. (All in the line of
 * D were alive when D was dead; those named in the file's name were dead before D was.) So the line of D has one end, and
 * who made that is the only one to act; should it die, the next goes past it and is the only one. A process may be killed
 * anywhere: it leaves a lock that can be taken, and heir files that nobody looks at until the next one who takes over, or
 * `removeLock`, removes them.
 *
 * It rests on: making, linking and renaming are atomic (they are on NFS, too; there a call whose answer was lost may have
 * been done: what has our token is ours, whatever the call returned); who is called dead is dead for good; nobody else
 * removes these files. If somebody removes PATH, the next one gets the lock while the holder believes that it has it:
 * `isStillHeld` tells. Heir files that are removed make no two holders, unless an heir has died as well within the same
 * microseconds.
 */

/** A lock that we have. */
export interface Held {
  /** Absolute. */
  readonly path: string
  readonly token: string
}

/** Somebody else has it. Undefined: it went from hand to hand while we looked. */
export interface Taken {
  readonly by: Owner | undefined
}

type IsSurelyDead = (owner: Owner, place: string) => boolean

/** What is in a lock, and in an heir file. */
interface Claim {
  readonly token: string
  readonly owner: Owner
}

/** One that tries to get a lock, or to remove it. */
interface Contender extends Claim {
  readonly path: string
  readonly isGone: (claim: Claim) => boolean
}

const TOKEN = /^[0-9a-f]{32}$/
const HEIR = /^\.[0-9a-f]{32}\.heir$/
/** Bytes; a lock has about 250. */
const LONGEST = 4096
/** Who lost to one that is just taking over looks again, a millisecond later. */
const ATTEMPTS = 5
/** Of `removeLock`, 10 milliseconds apart. */
const LOOKS = 100

/** For one use: a lock that is held once. */
export const newToken = (): string => randomHex(16)

/**
 * Takes the lock if it is free, or if its holder is surely dead. Errors of the system are thrown. The token may be made
 * beforehand, for a record that is to be there before the lock is.
 */
export function tryAcquire(path: string, owner: Owner, isSurelyDead: IsSurelyDead, token = newToken()): Held | Taken {
  const me = contender(path, owner, token, (claim) => isSurelyDead(claim.owner, dirname(path)))
  const held = { path: me.path, token }
  let by: Owner | undefined
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) sleepSync(1)
    if (make(me.path, me)) return held
    const holder = read(me, me.path)
    if (holder?.token === token) return held
    if (!holder) continue
    if (me.isGone(holder)) {
      by = succeed(me, holder, (heirFile) => renameSync(heirFile, me.path))
      // Looked at again, for the sake of those who remove heir files by hand.
      if (!isStillHeld(held)) continue
      quietly(() => tidy(me))
      return held
    } else return { by: holder.owner }
  }
  return { by }
}

/** Gives the lock back, if it is still ours. */
export function release(held: Held): void {
  if (isStillHeld(held)) unlessGone(() => unlinkSync(held.path))
}

/** False when somebody has removed or replaced the file: then another process may have the lock. */
export function isStillHeld({ path, token }: Held): boolean {
  return look(path)?.token === token
}

/**
 * Gives back the lock of somebody else, who has died, or of this process. The caller vouches for it: it is the only one that
 * runs the record. Contenders who see the death may be at it at the same time: then it is removed, or gets its next holder,
 * once.
 */
export function* removeLock(
  { path, token }: Pick<LockAction, 'path' | 'token'>,
  owner: Owner = thisOwner(),
  isSurelyDead: IsSurelyDead = ownerIsSurelyDead,
): Steps<Outcome> {
  const me = contender(path, owner, newToken(), (claim) => claim.token === token || isSurelyDead(claim.owner, dirname(path)))
  let by: Owner | undefined
  for (let n = 0; n < LOOKS; n++) {
    const holder = look(me.path)
    if (holder?.token !== token) {
      if (isWindows()) quietly(() => unlinkSync(ownFileOf({ path: me.path, token })))
      quietly(() => tidy(me, token))
      return DONE
    }
    // Nobody else takes us for dead, so nobody but us may touch it.
    if (isSameThread(holder.owner, owner)) {
      unlessGone(() => unlinkSync(me.path))
      return DONE
    }
    by = succeed(me, holder, () => unlinkSync(me.path))
    if (isStillHeld({ path: me.path, token })) yield { sleep: 10 }
  }
  return { left: `${me.path} has been about to be taken over by process ${by?.pid} for ${(LOOKS * 10) / 1000} s` }
}

function contender(path: string, owner: Owner, token: string, isGone: (claim: Claim) => boolean): Contender {
  if (typeof path !== 'string' || path === '') throw invalid('path', 'the path of a file', path)
  return { path: resolve(path), owner, token, isGone }
}

/**
 * Becomes the last in the line of a dead holder, and then does what only that one may do. Returns who was faster, if it is
 * known.
 */
function succeed(me: Contender, holder: Claim, act: (heirFile: string) => void): Owner | undefined {
  let file = heirFileOf(me, holder)
  while (!make(file, me)) {
    const heir = read(me, file)
    if (heir?.token === me.token) break
    if (!heir || !me.isGone(heir)) return heir?.owner
    file = heirFileOf(me, heir)
  }
  try {
    // Gone already: somebody has tidied up, or the file server has done it twice.
    if (look(me.path)?.token === holder.token) unlessGone(() => act(file))
  } finally {
    unlessGone(() => unlinkSync(file))
  }
  return undefined
}

/**
 * Removes the heir files of earlier holders, and one of a thread of ours that was ended: it would be waited for as long as
 * we live.
 */
function tidy(me: Contender, token?: string): void {
  const directory = dirname(me.path)
  const name = basename(me.path)
  const entries = readdirSync(directory).filter((entry) => entry.startsWith(name) && HEIR.test(entry.slice(name.length)))
  const holder = look(me.path)
  // Of one that died just now the line may have begun.
  const isQuiet = !holder || !me.isGone(holder)
  for (const file of entries.map((entry) => join(directory, entry))) {
    const heir = look(file)
    if (isQuiet || (heir?.token === token && heir && isSameProcess(heir.owner, me.owner))) unlessGone(() => unlinkSync(file))
  }
}

const heirFileOf = (me: Contender, { token }: Claim): string => `${me.path}.${token}.heir`

const isSameThread = (one: Owner, other: Owner) => isSameProcess(one, other) && one.thread === other.thread

/** Makes a file together with its text. False when there is one already. */
function make(file: string, me: Contender): boolean {
  const text = JSON.stringify({ token: me.token, owner: me.owner })
  return unlessCode('EEXIST', () => (isWindows() ? makeFile(file, text, ownFileOf(me)) : symlinkSync(text, file))) !== false
}

/** Where not everybody may make symbolic links: a file that is written beforehand, and linked. */
function makeFile(file: string, text: string, own: string): void {
  try {
    const fd = openSync(own, 'w', 0o600)
    try {
      writeFileSync(fd, text)
      fdatasyncSync(fd)
    } finally {
      closeSync(fd)
    }
    linkSync(own, file)
  } finally {
    quietly(() => unlinkSync(own))
  }
}

const ownFileOf = ({ path, token }: Held): string => `${path}.${token}`

const isWindows = (): boolean => process.platform === 'win32'

/** Undefined: there is no such file. A file that is no lock can't be waited for: somebody has to look at it. */
function read({ path }: Contender, file: string): Claim | undefined {
  const text = textOf(file)
  const claim = text === undefined ? undefined : parse(text)
  if (text === undefined || claim) return claim
  // What was given may be the file that is to be protected: it isn't to be removed.
  const advice =
    file !== path || text.startsWith('{"token"')
      ? `is damaged: nobody can ever take it. If no process uses it, remove ${file === path ? path : `${path} and ${file}`}`
      : `is not a lock but somebody's file: a lock needs a name of its own, such as ${path}.lock`
  throw new ExodosError('ERR_EXODOS_LOCK', `${file} ${advice}`)
}

/** Undefined also for what is no lock. */
function look(file: string): Claim | undefined {
  return parse(textOf(file) ?? '')
}

/** Empty for what can be no lock. */
function textOf(file: string): string | undefined {
  return unlessGone(() => {
    if (!isWindows()) return unlessCode('EINVAL', () => readlinkSync(file)) || ''
    const stats = lstatSync(file)
    return stats.isFile() && stats.size <= LONGEST ? readFileSync(file, 'utf8') : ''
  })
}

function parse(text: string): Claim | undefined {
  try {
    const { token, owner } = JSON.parse(text) as Claim
    const isComplete = TOKEN.test(token) && Number.isSafeInteger(owner.pid) && owner.pid > 0
    const words = [owner.start, owner.thread, owner.boot, owner.machine, owner.namespace]
    return isComplete && words.every((word) => typeof word === 'string') ? { token, owner } : undefined
  } catch {
    return undefined
  }
}

function unlessCode<T>(code: string, act: () => T): T | false {
  try {
    return act()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === code) return false
    throw error
  }
}

function unlessGone<T>(act: () => T): T | undefined {
  const result = unlessCode('ENOENT', act)
  return result === false ? undefined : result
}

/** What can't be tidied up now is left for the next one. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}
