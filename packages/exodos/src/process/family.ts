import { isAlive, LEAVING, seen } from '../system/proc.js'
import { builtin, listenOnce, realProcess } from './real.js'

/**
 * The environment variable by which the processes of a tree are known: for each process on the way down to this one
 * `PID.STARTTIME:NUMBER`, of who has started it and which of its children it is, with colons in between; a worker thread
 * adds its own number to the start time. It is inherited by whatever a process starts, also by what leaves its group and its
 * parent; empty it says that a child belongs to nobody.
 */
export const TREE = 'EXODOS_TREE'

const MARK = /(?:^|:)(\d+)\.(\d+)(?:\.\d+)?:\d+$/

/** Who has put this process into its tree. */
export interface Parent {
  readonly pid: number
  readonly startTime: string
}

/** Undefined for who is nobody's child, and where the parent can't be seen, as from within a container. */
export function parentInTree(): Parent | undefined {
  const [, pid, startTime] = MARK.exec(realProcess.env[TREE] ?? '') ?? []
  if (pid === undefined || startTime === undefined) return undefined
  const parent = { pid: Number(pid), startTime }
  return isAlive(parent) ? parent : undefined
}

let own: string | undefined
let count = 0

/** What all children of this thread carry. `inherited`: what they would without us. Undefined where start times aren't known. */
export function ownMark(inherited: string): string | undefined {
  if (own === undefined) {
    const startTime = seen(realProcess.pid)?.startTime
    own = startTime === undefined ? '' : `${realProcess.pid}.${startTime}${thread()}`
  }
  if (own === '') return undefined
  return inherited === '' ? own : `${inherited}:${own}`
}

/** What the next child is to carry. */
export function nextMark(inherited: string): string | undefined {
  const mark = ownMark(inherited)
  return mark === undefined ? undefined : `${mark}:${++count}`
}

function thread(): string {
  const { isMainThread, threadId } = builtin<typeof import('node:worker_threads')>('node:worker_threads')
  return isMainThread ? '' : `.${threadId}`
}

const ignore = () => {}

/** A parent that sees it doesn't ask once more, which would be a second signal. */
export function showLeaving(): void {
  if (realProcess.env[TREE]) listenOnce(LEAVING, ignore)
}

export function showStaying(): void {
  realProcess.off(LEAVING, ignore)
}
