import { type HookRecord, hookName, hookSite, PHASES, type Phase } from './hook.js'
import type { Hook, Stack } from './order.js'
import type { RootScope } from './root.js'
import { scopeOf } from './scope-state.js'

/** One hook or scope of the order in which a program is going to close. */
export interface PlannedStep {
  name: string
  /** Its members, in their order, if it is a scope. */
  members?: PlannedStep[]
  /** Its members are closed at the same time. */
  parallel?: boolean
  /** What moved it from "newest first": "priority 5", "after db". */
  why: string[]
  /** Where it was registered, if that was captured. */
  site?: string
}

/** What will be closed, in which order and why. */
export interface Plan {
  readonly phases: { phase: Phase; steps: PlannedStep[] }[]
  /** For people, a step a line. */
  readonly text: string
  /** A flowchart in Mermaid's language. */
  readonly mermaid: string
  toString(): string
}

interface Step extends PlannedStep {
  id: string
  after: { id: string; label: string }[]
  members?: Step[]
}

/** Finds the order that a run would have if it began now. Calls nothing and changes nothing. */
export function plan(scope: RootScope): Plan {
  let count = 0
  const ids = new Map<HookRecord, string>()
  const idOf = (record: HookRecord): string => {
    const id = ids.get(record) ?? `h${++count}`
    ids.set(record, id)
    return id
  }
  const steps = (stack: Stack): Step[] => inOrder(stack).map((hook) => step(hook, stack))
  const step = (hook: Hook, stack: Stack): Step => {
    const { record } = hook
    const waits = [...stack.waitsFor(hook)]
    const labels = new Map(waits.map((wait) => [wait.hook.record, labelOf(wait.target, wait.hook.record)]))
    const site = hookSite(record)
    const scope = scopeOf(record)
    return {
      id: idOf(record),
      name: hookName(record),
      why: [
        ...(record.priority === 0 ? [] : [`priority ${record.priority}`]),
        ...[...new Set(labels.values())].map((label) => `after ${label}`),
        ...missing(record, stack).map((name) => `after ${name}, which nothing is called`),
      ],
      after: [...labels].map(([other, label]) => ({ id: idOf(other), label })),
      ...(scope && { members: steps(scope.members), parallel: scope.parallel }),
      ...(site !== undefined && site !== hookName(record) && { site }),
    }
  }
  const phases = PHASES.map((phase) => ({ phase, steps: steps(scope.stack(phase)) })).filter((each) => each.steps.length > 0)
  const text = describePhases(phases)
  return {
    phases: phases.map((each) => ({ phase: each.phase, steps: each.steps.map(publicStep) })),
    text,
    get mermaid() {
      return drawPhases(phases)
    },
    toString: () => text,
  }
}

/** The hooks in the order in which they would be called, were each over before the next. */
function inOrder(stack: Stack): Hook[] {
  const hooks = [...stack]
  const places = new Map(hooks.map((hook, at) => [hook, at]))
  const followers = new Map<Hook, Set<number>>()
  const waits = hooks.map((hook, at) => {
    const others = new Set([...stack.waitsFor(hook)].map((edge) => edge.hook).filter((other) => places.has(other)))
    for (const other of others) followers.set(other, (followers.get(other) ?? new Set()).add(at))
    return others.size
  })
  const ordered: Hook[] = []
  // Those that were moved back and are free now come before all others; of these, the first in the stack's order.
  const free: number[] = []
  const take = (at: number) => {
    const hook = hooks[at] as Hook
    ordered.push(hook)
    for (const follower of followers.get(hook) ?? []) {
      const left = (waits[follower] as number) - 1
      waits[follower] = left
      if (left === 0 && follower < next) free.splice(placeIn(free, follower), 0, follower)
    }
  }
  let next = 0
  while (next < hooks.length || free.length > 0) {
    const first = free.pop()
    if (first !== undefined) take(first)
    else if (waits[next++] === 0) take(next - 1)
  }
  return ordered
}

/** Where a number belongs in a list with the smallest last. */
function placeIn(numbers: readonly number[], number: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((numbers[middle] as number) > number) low = middle + 1
    else high = middle
  }
  return low
}

function labelOf(target: string | HookRecord, found: HookRecord): string {
  const name = typeof target === 'string' ? target : hookName(target)
  return found === target || found.name === name ? name : `${name} in ${hookName(found)}`
}

/** Names in a hook's own `after` that lead nowhere yet, from here or from the scopes around it. */
function missing(record: HookRecord, stack: Stack): string[] {
  return (record.after ?? []).filter((target): target is string => typeof target === 'string' && !isKnown(target, stack))
}

function isKnown(name: string, stack: Stack): boolean {
  if (stack.has(name)) return true
  const around = (stack.owner?.place as Hook | undefined)?.stack
  return around !== undefined && isKnown(name, around)
}

function publicStep({ name, why, members, parallel, site }: Step): PlannedStep {
  return {
    name,
    why,
    ...(members && { members: members.map(publicStep) }),
    ...(parallel !== undefined && { parallel }),
    ...(site !== undefined && { site }),
  }
}

type Phases = { phase: Phase; steps: Step[] }[]

const atOnce = (phase: Phase) => phase !== 'release'

function describePhases(phases: Phases): string {
  if (phases.length === 0) return 'nothing to close\n'
  const lines: string[] = []
  const add = (steps: Step[], parallel: boolean, indent: string) => {
    for (const [at, step] of steps.entries()) {
      const place = `${indent}${parallel ? '-' : `${at + 1}.`} `
      const kind = step.members ? [`scope, ${step.parallel ? 'all at once' : 'one after another'}`] : []
      const details = [...kind, ...step.why, ...(step.site ? [`registered at ${step.site}`] : [])]
      lines.push(`${place}${step.name}${details.length > 0 ? ` (${details.join('; ')})` : ''}`)
      if (step.members) add(step.members, step.parallel === true, `${indent}   `)
    }
  }
  for (const { phase, steps } of phases) {
    lines.push(`${phase}, ${atOnce(phase) ? 'all at once' : 'one after another'}`)
    add(steps, atOnce(phase), '  ')
  }
  return `${lines.join('\n')}\n`
}

function drawPhases(phases: Phases): string {
  const lines = ['flowchart TD']
  const quote = (text: string) => `"${text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;')}"`
  const draw = (steps: Step[], parallel: boolean, indent: string) => {
    for (const step of steps) {
      if (step.members?.length) {
        lines.push(`${indent}subgraph ${step.id}[${quote(step.name)}]`)
        draw(step.members, step.parallel === true, `${indent}  `)
        lines.push(`${indent}end`)
      } else lines.push(`${indent}${step.id}[${quote(step.name)}]`)
    }
    for (const [at, step] of steps.entries()) {
      const before = parallel ? undefined : steps[at - 1]?.id
      if (before && !step.after.some(({ id }) => id === before)) lines.push(`${indent}${before} --> ${step.id}`)
      for (const { id, label } of step.after) lines.push(`${indent}${id} -. ${quote(`after ${label}`)} .-> ${step.id}`)
    }
  }
  for (const [at, { phase, steps }] of phases.entries()) {
    lines.push(`  subgraph ${phase}`)
    draw(steps, atOnce(phase), '    ')
    lines.push('  end')
    if (at > 0) lines.push(`  ${phases[at - 1]?.phase} --> ${phase}`)
  }
  return `${lines.join('\n')}\n`
}
