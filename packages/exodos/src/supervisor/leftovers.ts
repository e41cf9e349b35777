import { allSeen, seen } from '../system/proc.js'
import { isMarked } from './directory.js'

/**
 * The processes that a program has left in its process group. The group is also that of whoever started us, so they are
 * known by the mark in their environment; what has made a group of its own is a daemon, and left alone.
 */
export function leftovers(path: string): number[] {
  const group = seen(process.pid)?.group
  return allSeen()
    .filter((found) => found.group === group && found.state !== 'Z' && found.pid !== process.pid)
    .map(({ pid }) => pid)
    .filter((pid) => isMarked(pid, path))
}
