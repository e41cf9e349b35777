import { TREE } from '../process/family.js'
import { allSeen, environmentOf } from '../system/proc.js'
import type { Child } from './child.js'
import { stand } from './crew.js'
import { Descendants } from './descendants.js'
import { stopRest } from './stop.js'

/** So many are remembered before those are forgotten of which nothing is left: to look takes some milliseconds. */
const MOST = 64

/** Children that have ended, and may have left something behind: a background job, or what has made a session of its own. */
const ended = new Set<Child>()
let isStanding = false

/** To be called with the first child: what such have left behind is stopped after all of them, before whatever is older. */
export function lookAfterOrphans(): void {
  if (isStanding) return
  isStanding = true
  stand(false, 'descendants', function* (stopping) {
    isStanding = false
    const children = [...ended]
    const told = {}
    stopping.tell(told)
    const problems = yield* stopRest(new Descendants(children), children, told, stopping)
    for (const child of children) forget(child)
    return problems
  })
}

export function addEnded(child: Child): void {
  if (!child.settings.tree || child.birth.mark === undefined) {
    child.over()
    return
  }
  ended.add(child)
  if (ended.size < MOST) return
  const there = marksThere()
  for (const each of ended) if (!there.has(each.birth.mark as string)) forget(each)
}

function forget(child: Child): void {
  child.over()
  ended.delete(child)
}

/** The marks of all processes, and of those that they descend from. */
function marksThere(): Set<string> {
  const there = new Set<string>()
  for (const { pid, state } of allSeen()) {
    const marks = /[ZX]/.test(state) ? [] : (environmentOf(pid, TREE)?.split(':') ?? [])
    for (const i of marks.keys()) there.add(marks.slice(0, i + 1).join(':'))
  }
  return there
}
