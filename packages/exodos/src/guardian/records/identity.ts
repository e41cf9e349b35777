import { lstatSync } from 'node:fs'
import type { Identity } from './action.js'

/** Of what is at a path, a symbolic link itself included; undefined when nothing is. */
export function identityOf(path: string): Identity | undefined {
  try {
    const stats = lstatSync(path, { bigint: true, throwIfNoEntry: false })
    return stats && identityFrom(stats)
  } catch (error) {
    // Something on the way to it is no directory any more.
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') return undefined
    throw error
  }
}

export function identityFrom({ dev, ino, birthtimeNs }: { dev: bigint; ino: bigint; birthtimeNs: bigint }): Identity {
  return { dev: String(dev), ino: String(ino), birth: String(birthtimeNs) }
}

/** Device and inode alone are given to the next file at once, on ext4 for one. */
export function isSame(one: Identity | undefined, other: Identity | undefined): boolean {
  return one !== undefined && other !== undefined && one.dev === other.dev && one.ino === other.ino && one.birth === other.birth
}
