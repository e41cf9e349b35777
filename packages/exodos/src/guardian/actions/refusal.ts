import { lstatSync, readlinkSync, realpathSync, type Stats } from 'node:fs'
import { homedir } from 'node:os'
import { basename, dirname, isAbsolute, join, resolve, sep } from 'node:path'
import type { Identity } from '../records/action.js'

/** What is known of a path that is to be removed. */
export interface Known {
  /** Of what is to be there: in a directory that everybody may write to nothing else is removed. Null: nothing is there. */
  readonly identity?: Identity | null | undefined
  /** We have made it, with a random name: it is nothing that was there before. */
  readonly isUnique?: boolean
}

/** Why a path is never removed, as the rest of a sentence that begins with the path; undefined when it may be. */
export function refusal(path: string, { identity, isUnique = false }: Known = {}): string | undefined {
  const place = locate(path)
  if (typeof place === 'string') return place
  const { parent, real } = place
  if (parent.reason !== undefined && !(parent.isOpen && identity)) return parent.reason
  if (isUnique) return undefined
  const words = relation(real, home(), 'the home directory')
  if (words !== undefined) return words
  // Only what is there, and has another device than what it is in, may be one.
  if (identity === null || (identity && identity.dev === String(parent.dev))) return undefined
  const isMount = isMountPoint(real, parent) && isMountPoint(real, judge(dirname(real)))
  return isMount ? 'is a mount point' : undefined
}

/** Is it, or is it above, the current directory or that of the records? In words; the next time that may be otherwise. */
export function inUse(path: string, state?: string): string | undefined {
  const place = locate(path)
  if (typeof place === 'string') return undefined
  return (
    relation(place.real, currentDirectory(), 'the current directory') ??
    (state === undefined ? undefined : relation(place.real, state, 'the directory for records'))
  )
}

function relation(real: string, other: string, words: string): string | undefined {
  const [path, place] = [comparable(real), comparable(other)]
  if (path === place) return `is ${words}`
  return place.startsWith(path + sep) ? `is above ${words}` : undefined
}

/** Where a path is. */
interface Place {
  readonly parent: Parent
  /** Without symbolic links, but for itself. */
  readonly real: string
}

/** In words: it isn't a place. */
function locate(path: string): Place | string {
  const known = locateInKnown(path)
  if (known) return known
  if (path.includes('\0')) return 'holds a NUL character'
  if (!isAbsolute(path)) return 'is not an absolute path'
  if (path.split(/[\\/]/).includes('..')) return "holds '..'"
  const whole = resolve(path)
  const above = dirname(whole)
  if (above === whole) return 'is the root of the file system'
  const parent = judged(above)
  return { parent, real: join(parent.real, basename(whole)) }
}

/** Of a directory that is known the name alone is to be looked at: nine in ten are, and the rest costs more than a record. */
function locateInKnown(path: string): Place | undefined {
  const slash = path.lastIndexOf('/')
  const parent = found.get(path.slice(0, slash))
  const name = path.slice(slash + 1)
  const isName = name !== '' && name !== '.' && name !== '..' && !name.includes('\0')
  return parent && isName ? { parent, real: `${parent.real}/${name}` } : undefined
}

/** A directory, seen by whoever wants to remove something in it. */
interface Parent {
  /** Without symbolic links. */
  readonly real: string
  readonly dev?: number
  readonly reason?: string
  /** The reason is the directory itself, not the way to it. */
  readonly isOpen?: boolean
}

const found = new Map<string, Parent>()

/**
 * Remembered when it is fine: nobody but us, root, and those we gave the right to it can make it otherwise. That saves
 * several system calls for each removal.
 */
function judged(directory: string): Parent {
  let parent = found.get(directory)
  if (!parent) {
    parent = judge(directory)
    if (found.size > 1000) found.clear()
    if (parent.reason === undefined && parent.dev !== undefined) found.set(directory, parent)
  }
  return parent
}

/**
 * Follows a path as the kernel does, and says whether anybody else could lead it elsewhere while we remove something.
 * - A directory that everybody may write to, without the sticky bit: whoever likes can replace what is in it. Refused.
 * - With the sticky bit (`/tmp`): an entry can be replaced by its owner, so one on the way must be ours, or root's. This goes for
 *   directories and for symbolic links, and is what the kernel itself asks of links there (fs.protected_symlinks).
 * - Any other directory: only its owner and its group can change it. Who set it up trusts them, and so do we; with a umask of 002,
 *   usual for users with a group of their own, all their directories are writable by that group.
 * Where a link points is judged in the same way.
 */
function judge(directory: string): Parent {
  const uid = process.getuid?.()
  // Where Node's permission model doesn't let us look, it doesn't let us remove anything either that isn't meant.
  if (uid === undefined || !mayLook()) return windows(directory)
  let at = '/'
  let stats = lstatSync(at)
  let links = 0
  const names = directory.split('/')
  while (names.length > 0) {
    const name = names.shift() as string
    if (name === '' || name === '.') continue
    if (name === '..') {
      at = dirname(at)
      stats = lstatSync(at)
      continue
    }
    const next = at === '/' ? `/${name}` : `${at}/${name}`
    const entry = look(next)
    // Not there yet: whoever makes it decides.
    if (!entry) return { real: [next, ...names].join('/'), ...openTo(at, stats) }
    if (isOpen(stats)) {
      if (!isSticky(stats)) return { real: at, ...openTo(at, stats) }
      if (entry.uid !== uid && entry.uid !== 0) {
        return {
          real: at,
          reason: `is reached through ${next}, which belongs to somebody else, in a directory that all may write to`,
        }
      }
    }
    if (entry.isSymbolicLink()) {
      if (++links > 40) return { real: at, reason: 'is reached through too many symbolic links' }
      const target = readlinkSync(next)
      names.unshift(...target.split('/'))
      if (target.startsWith('/')) {
        at = '/'
        stats = lstatSync(at)
      }
    } else {
      at = next
      stats = entry
    }
  }
  return { real: at, dev: stats.dev, isOpen: isOpen(stats), ...openTo(at, stats) }
}

function mayLook(): boolean {
  const { permission } = process as { permission?: { has(scope: string, path: string): boolean } }
  return permission === undefined || permission.has('fs.read', '/')
}

const isOpen = (stats: Stats) => (stats.mode & 0o002) !== 0
const isSticky = (stats: Stats) => (stats.mode & 0o1000) !== 0

function openTo(at: string, stats: Stats): { reason?: string } {
  return isOpen(stats) && !isSticky(stats)
    ? { reason: `is in ${at} or below it, which everybody may write to, and has no sticky bit` }
    : {}
}

/** Rights are not in the mode there; ours to judge is only where a path leads. */
function windows(directory: string): Parent {
  try {
    const real = realpathSync.native(directory)
    return { real, dev: lstatSync(real).dev }
  } catch {
    return { real: directory }
  }
}

function isMountPoint(path: string, parent: Parent): boolean {
  if (parent.dev === undefined) return false
  const stats = look(path)
  // A container's file system may show files, but not directories, with the device of the layer that they come from.
  return stats?.isDirectory() === true && stats.dev !== parent.dev
}

const homes = new Map<string, string>()

function home(): string {
  try {
    const path = homedir()
    let real = homes.get(path)
    if (real === undefined) {
      real = realpathSync.native(path)
      homes.set(path, real)
    }
    return real
  } catch {
    return sep
  }
}

function currentDirectory(): string {
  try {
    return process.cwd()
  } catch {
    // It was removed.
    return sep
  }
}

/** Elsewhere names usually differ by more than capitals. */
const comparable = (path: string): string => (process.platform === 'linux' ? path : path.toLowerCase())

function look(path: string): Stats | undefined {
  try {
    return lstatSync(path, { throwIfNoEntry: false })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined
    throw error
  }
}
