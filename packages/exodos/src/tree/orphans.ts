import { theGuardian } from '../guardian/durable.js'
import { clock } from '../process/clock.js'
import { ownMark, TREE } from '../process/family.js'
import { realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { seen } from '../system/proc.js'
import type { Child } from './child.js'
import { stand } from './crew.js'
import { Descendants, isSurelyNobody, scan } from './descendants.js'
import { stopRest } from './stop.js'

/**
 * So many are remembered before those are forgotten of which nothing is left. To look takes some milliseconds, more where
 * there are many processes: then it is done less often.
 */
const LEAST = 64
let most = LEAST

/** Children that have ended, and may have left something behind: a background job, or what has made a session of its own. */
const ended = new Set<Child>()
/** What carries our own mark belongs to one of our children: none of them has to be remembered. */
let cover: { readonly mark: string; over(): void } | undefined
/** The marks of children whose descendants are left alone. */
const spared = new Set<string>()
let isStanding = false

/** When the last child was started, by the clock. */
let startedAt = 0

/** To be called with each child: what such have left behind is stopped after all of them, before whatever is older. */
export function lookAfterOrphans(): void {
  startedAt = clock.now()
  if (isStanding) return
  isStanding = true
  stand('descendants', function* (stopping) {
    isStanding = false
    const children = [...ended]
    if (children.length === 0 && (!cover || isSurelyNobody(cover.mark, startedAt))) {
      cover?.over()
      cover = undefined
      return []
    }
    const descendants = new Descendants(children, cover ? [cover.mark] : [], spared)
    const told = {}
    stopping.tell(told)
    const problems = yield* stopRest(descendants, told, stopping)
    for (const child of children) forget(child)
    cover?.over()
    cover = undefined
    return problems
  })
}

/** All children of this process are to be stopped: one record for all of them is enough. */
export function coverAll(): void {
  if (cover) return
  const mark = ownMark(realProcess.env[TREE] ?? '')
  const start = seen(realProcess.pid)?.startTime
  if (mark === undefined || start === undefined) return
  let over = () => {}
  try {
    const { records } = theGuardian()
    const cookie = `${TREE}=${mark}`
    const { pid } = realProcess
    // As long as we would have given them.
    const timeout = coordinator().state.policy.grace
    const id = records.add({ kind: 'process', pid, start, group: false, signal: 'SIGTERM', timeout, cookie })
    over = () => records.remove(id)
  } catch {
    // A full disk: they are stopped as long as we live.
  }
  cover = { mark, over }
}

/** Its descendants are left alone, as long as we live. */
export function spare(mark: string): void {
  spared.add(mark)
}

export function addEnded(child: Child): void {
  const { birth, settings } = child
  if (!settings.tree || birth.mark === undefined || birth.isCovered) {
    child.over()
    return
  }
  ended.add(child)
  if (ended.size < most) return
  const found = scan()
  most = Math.max(LEAST, found.length)
  const there = new Set(found.flatMap(({ marks }) => marks))
  for (const each of ended) if (!there.has(each.birth.mark as string)) forget(each)
}

function forget(child: Child): void {
  child.over()
  ended.delete(child)
}
