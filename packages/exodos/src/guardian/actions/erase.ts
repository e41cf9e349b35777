import {
  constants,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { randomHex } from '../../system/random.js'
import { DONE, type Identity, type Outcome } from '../records/action.js'
import { identityOf, isSame } from '../records/identity.js'
import { empty, isMountPoint, rmdir, unlink } from './empty.js'
import { inUse, refusal } from './refusal.js'
import type { Steps } from './steps.js'

/** What we have moved aside begins with it. */
const QUARANTINE = '.exodos-'

/** So often a tree is emptied again when somebody has put something into it meanwhile. */
const ROUNDS = 10

export interface EraseOptions {
  /** A directory with all that is in it; otherwise only an empty one. */
  readonly tree: boolean
  /** What is to be there: anything else is left alone. */
  readonly identity?: Identity | undefined
  /** We have made it, with a random name. */
  readonly unique?: true
  /** Does somebody who lives want it as well? Asked once it is out of his reach, too: then it is given back. */
  readonly isWanted?: ((path: string) => boolean) | undefined
}

/**
 * Removes a path. What has an identity is moved aside first, looked at there, where nobody else has it in his hands, and
 * then removed: a file that comes to the path at the wrong moment is put back, as nothing that is looked at under a name it
 * can lose is sure to be what is removed under that name. Without an identity whatever is there is meant. Errors of the
 * system are thrown: it is to be tried again.
 */
export function* erase(given: string, options: EraseOptions): Steps<Outcome> {
  const { tree, identity, unique: isUnique = false, isWanted = () => false } = options
  const reason = refusal(given, { identity, isUnique })
  if (reason !== undefined) return { left: `${given} ${reason}` }
  const use = isUnique ? undefined : inUse(given)
  if (use !== undefined) throw new Error(`${given} ${use}`)
  const path = resolve(given)
  if (!identity) return isWanted(path) ? wanted(path) : yield* clear(path, path, tree)

  if (isWanted(path)) {
    // An earlier attempt may have got as far as that, and no further.
    const place = aside(path, identity)
    if (isSame(identityOf(place), identity)) yield* leaveTo(place, path, options)
    return wanted(path)
  }
  const taken = take(path, identity)
  if (typeof taken !== 'string') return taken
  if (taken === path) return yield* clearInPlace(path, tree, identity)
  try {
    if (isWanted(path)) {
      yield* leaveTo(taken, path, options)
      return wanted(path)
    }
    const outcome = yield* clear(taken, path, tree, identity)
    if ('left' in outcome) giveBack(taken, path)
    return outcome
  } catch (error) {
    // Next time it is to be found again. If its place was taken meanwhile, `take` finds it aside.
    giveBack(taken, path)
    throw error
  }
}

/** Puts back what somebody else wants; where that one has made something new, this is the old one. */
function* leaveTo(place: string, path: string, { tree, identity }: EraseOptions): Steps<void> {
  if (giveBack(place, path)) return
  if (!identityOf(path)) throw new Error(`${path} is in use, and can't be put back: it is ${place} now`)
  yield* clear(place, path, tree, identity)
}

/** Removes what is at a place; `path` is what it is called. */
function* clear(place: string, path: string, tree: boolean, identity?: Identity): Steps<Outcome> {
  try {
    for (let round = 0; round < ROUNDS; round++) {
      if (tree ? rmdirOrUnlink(place) : unlink(place) || rmdir(place)) return DONE
      if (!tree) return { left: `${path} is a directory that is not empty` }
      const left = yield* empty(place, identity)
      if (left.length > 0) return { left: left.join('; ').replaceAll(place, path) }
    }
    rmdirSync(place)
    return DONE
  } catch (error) {
    return mounted(error, place, path)
  }
}

/** A temporary directory is removed with a single system call, if it is empty. */
function rmdirOrUnlink(path: string): boolean {
  try {
    return rmdir(path)
  } catch (error) {
    if (codeOf(error) !== 'ENOTDIR') throw error
    return unlink(path)
  }
}

/**
 * A directory from a container's image can't be moved. The descriptor by which it is emptied says whether it is the one
 * meant; after that the file system gives it another time of birth. At the worst it is somebody else's empty directory that
 * is removed in the end.
 */
function* clearInPlace(path: string, tree: boolean, identity: Identity): Steps<Outcome> {
  const left = tree ? yield* empty(path, identity) : []
  if (left.length > 0) return { left: left.join('; ') }
  return rmdir(path) ? DONE : { left: `${path} is a directory that is not empty` }
}

/**
 * Moves what is meant aside, and says where it is then; or what came of it. The name follows from what is meant: if we die
 * now, whoever does our work again finds it.
 */
function take(path: string, identity: Identity): string | Outcome {
  const place = aside(path, identity)
  const there = identityOf(path)
  const isPlaceTaken = identityOf(place)
  if (!isSame(there, identity)) {
    if (isSame(isPlaceTaken, identity)) return place
    return there ? another(path) : DONE
  }
  // Its second name, where an attempt to put it back was cut short.
  if (isSame(isPlaceTaken, identity)) unlinkSync(place)
  const free = isPlaceTaken ? join(dirname(path), QUARANTINE + randomHex(16)) : place
  try {
    renameSync(path, free)
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT') return DONE
    if (code === 'EXDEV' && lstatSync(path).isDirectory()) return path
    return mounted(error, path, path)
  }
  if (isSame(identityOf(free), identity)) return free
  if (giveBack(free, path)) return another(path)
  return { left: `${path} is not the one that was recorded, and has been moved: it is ${free} now` }
}

function aside(path: string, { dev, ino, birth }: Identity): string {
  const words = [dev, ino, birth].map((number) => BigInt(number).toString(36))
  // Of files with several names in one directory each has its own.
  let hash = 0
  for (const byte of Buffer.from(basename(path))) hash = (hash * 31 + byte) >>> 0
  return join(dirname(path), QUARANTINE + [...words, hash.toString(36)].join('-'))
}

/**
 * Moves back to its name what was moved aside; false when it stays there. Never over anything that has come to the name
 * meanwhile.
 */
function giveBack(from: string, to: string): boolean {
  try {
    const stats = lstatSync(from)
    if (stats.isDirectory()) {
      // Fails when there is something; what is renamed then replaces an empty directory of ours. Windows doesn't replace any.
      if (process.platform !== 'win32') mkdirSync(to)
      renameSync(from, to)
    } else {
      // A second name, which fails when it is in use. Only Linux gives it to the link itself.
      if (stats.isSymbolicLink() && process.platform !== 'linux') symlinkSync(readlinkSync(from), to)
      else linkOrCopy(from, to)
      unlinkSync(from)
    }
    return true
  } catch {
    return false
  }
}

const wanted = (path: string): Outcome => ({ left: `${path} was recorded by a process that lives, too`, handedOver: true })

/** Some file systems have one name for a file. */
function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw error
    copyFileSync(from, to, constants.COPYFILE_EXCL)
  }
}

function another(path: string): Outcome {
  return { left: `${path} is not the one that was recorded` }
}

/** A busy mount point stays one; all else may be over the next time. */
function mounted(error: unknown, place: string, path: string): Outcome {
  if (codeOf(error) === 'EBUSY' && isMountPoint(place, dirname(place))) return { left: `${path} is a mount point` }
  throw error
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}
