import { ExodosError } from './errors.js'
import type { HookRecord } from './hook.js'
import type { Hook, Target } from './order.js'
import { scopeOf } from './scope-state.js'

/** One hook waits for another one: by which of its targets, or of its members'. */
export interface Edge {
  from: Hook
  target: Target
  to: Hook
}

/** "a → after b → after a"; where an edge leads from or to a member, "metrics in telemetry → after pool in app, …". */
export function cycle(last: Edge, cameFrom: Map<Hook, Edge | undefined>): ExodosError {
  const path: Edge[] = []
  for (let edge: Edge | undefined = last; edge; edge = cameFrom.get(edge.from)) path.unshift(edge)
  let text = ''
  let at = ''
  for (const { from, target, to } of path) {
    const begin = labelIn(from.record, (record) => record.after?.includes(target) === true) || from.record.name
    if (begin !== at) text += `${text && ', '}${begin}`
    at = labelIn(to.record, (record) => record === target || record.name === target) || to.record.name
    text += ` → after ${at}`
  }
  return refused(text)
}

/** A member can't wait for its own scope. */
export function cycleWithin(member: HookRecord, scope: HookRecord): ExodosError {
  return refused(`${member.name} in ${scope.name} → after ${scope.name}`)
}

function refused(path: string): ExodosError {
  return new ExodosError('ERR_EXODOS_CYCLE', `options.after: expected an order without a cycle, got ${path}`)
}

/** A record's name, or that of the member of it that is meant. */
function labelIn(record: HookRecord, isMeant: (record: HookRecord) => boolean): string {
  if (isMeant(record)) return record.name
  for (const { record: member } of scopeOf(record)?.members ?? []) {
    const label = labelIn(member, isMeant)
    if (label) return `${label} in ${record.name}`
  }
  return ''
}
