import { TREE } from '../process/family.js'
import { allSeen, environmentOf, type Seen } from '../system/proc.js'

/** A process in a tree; `depth` is 0 for the root. */
export interface Node {
  readonly process: Seen
  readonly depth: number
}

/** A process, then what descends from it, each below its parent; an orphan below the nearest one that it carries the mark of. */
export function treeOf(root: Seen): Node[] {
  const all = allSeen()
  const below = new Map<number, Seen[]>()
  const add = (parent: number, child: Seen) => below.set(parent, [...(below.get(parent) ?? []), child])
  for (const each of all) if (each.pid !== root.pid) add(each.parent, each)
  const found = walk(root, 0, below)
  const there = new Map(found.map(({ process }) => [`${process.pid}.${process.startTime}`, process]))
  for (const orphan of all) {
    if (there.has(`${orphan.pid}.${orphan.startTime}`)) continue
    // A worker thread adds a number of its own.
    const names =
      environmentOf(orphan.pid, TREE)
        ?.split(':')
        .map((part) => part.split('.').slice(0, 2).join('.')) ?? []
    const parent = names
      .reverse()
      .map((name) => there.get(name))
      .find(Boolean)
    if (!parent) continue
    below.set(
      orphan.parent,
      (below.get(orphan.parent) ?? []).filter((each) => each !== orphan),
    )
    add(parent.pid, orphan)
  }
  return walk(root, 0, below)
}

function walk(process: Seen, depth: number, below: ReadonlyMap<number, readonly Seen[]>): Node[] {
  return [{ process, depth }, ...(below.get(process.pid) ?? []).flatMap((child) => walk(child, depth + 1, below))]
}
