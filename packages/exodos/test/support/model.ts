import fc from 'fast-check'

// Random programs, and what the rules say about them: written from the documentation, not from the code.

const PHASES = ['announce', 'drain', 'save', 'release', 'flush'] as const
export type Phase = (typeof PHASES)[number]
/** How a function ends. `late` after some time of the fake clock, `hang` never. */
export type How = 'sync' | 'throw' | 'async' | 'reject' | 'late' | 'hang'
export type Kind = 'hook' | 'use' | 'adopt' | 'scope' | 'finalizer'

/** Something to be registered. It is known by `id`, and what it refers to by theirs; 0 is the root scope. */
export interface Item {
  id: number
  kind: Kind
  /** Where, and how deep that is. */
  in: number
  depth: number
  name: string
  phase: Phase
  priority: number
  after: (string | number)[]
  how: How
  ms: number
  parallel: boolean
  /** What it does when it is called. */
  steps: Step[]
}
export type Verb = 'cancel' | 'run' | 'close' | 'move' | 'use' | 'finalizers' | 'force' | 'exit'
export interface Act {
  verb: Verb
  of: number
  into: number
  wait: boolean
}
export type Step = { add: Item } | Act
export interface Program {
  items: Item[]
  steps: Step[]
}

interface RawAdd extends Omit<Item, 'id' | 'depth' | 'after' | 'steps'> {
  after: ({ name: string } | { of: number })[]
  steps: RawStep[]
}
type RawStep = { add: RawAdd } | Act

const VERBS = ['cancel', 'run', 'close', 'close', 'move', 'use', 'use', 'finalizers'] as const
const NAMES = ['a', 'b', 'c', 'd']
const often = <T>(usual: T, times: number, ...others: T[]) =>
  fc.oneof({ weight: times, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) })

/** Programs in which no function takes time are `exact`: all of their order is given by the rules. */
export function programs(exact: boolean): fc.Arbitrary<Program> {
  const number = fc.nat({ max: 20 })
  const { step } = fc.letrec<{ step: RawStep; add: RawStep; act: RawStep }>((tie) => ({
    add: fc.record({
      add: fc.record({
        kind: fc.constantFrom<Kind>('hook', 'hook', 'scope', 'scope', 'use', 'adopt', 'finalizer'),
        in: number,
        name: fc.constantFrom(...NAMES),
        phase: often<Phase>('release', 5, 'announce', 'drain', 'save', 'flush'),
        priority: often(0, 4, -1, 1, 2),
        after: fc.array(fc.oneof(fc.record({ name: fc.constantFrom(...NAMES, 'nobody') }), fc.record({ of: number })), {
          maxLength: 2,
          size: 'xsmall',
        }),
        how: exact
          ? often<How>('sync', 2, 'throw', 'async', 'reject')
          : often<How>('sync', 1, 'throw', 'async', 'reject', 'late', 'hang'),
        ms: fc.constantFrom(1, 40, 100, 900, 7000),
        parallel: often(false, 2, true),
        steps: fc.array(tie('step'), { maxLength: 3, depthIdentifier: 'steps', size: 'xsmall' }),
      }),
    }),
    act: fc.record({
      verb: fc.constantFrom(...VERBS, ...(exact ? [] : (['force', 'exit'] as const))),
      of: number,
      into: number,
      wait: fc.boolean(),
    }),
    step: fc.oneof({ weight: 3, arbitrary: tie('add') }, { weight: 1, arbitrary: tie('act') }),
  }))
  return fc.array(step, { minLength: 1, maxLength: 14 }).map((raw) => resolve(raw, exact))
}

/** Gives ids, and makes references lead to what is there. */
function resolve(raw: RawStep[], exact: boolean): Program {
  const items: Item[] = []
  const root = { id: 0, depth: 0, parallel: false, in: 0 } as Item
  const at = (n: number, list: Item[]) => list[n % list.length] as Item
  const sequential = (item: Item): Item => (item.parallel ? sequential([root, ...items][item.in] as Item) : item)
  const one = (step: RawStep, isTop: boolean): Step => {
    const scopes = [root, ...items.filter(({ kind }) => kind === 'scope')]
    if ('verb' in step) {
      // Only what is called by a run asks for an end that is under way.
      const verb = isTop && /exit|force/.test(step.verb) ? 'cancel' : step.verb
      const isScope = ['close', 'move', 'use'].includes(verb)
      const into = at(step.into, scopes)
      const of = isScope ? at(step.of, scopes) : items.length > 0 ? at(step.of, items) : root
      // What is in a scope beside others that run at the same time has no order that is given.
      return { ...step, verb, of: of.id, into: (exact ? sequential(into) : into).id }
    }
    const { add } = step
    let outer = add.kind === 'finalizer' ? root : at(add.in, scopes)
    if (add.kind === 'scope' && outer.depth >= 4) outer = root
    if (add.kind === 'scope' && exact) outer = sequential(outer)
    const phase = outer.id === 0 && (add.kind === 'hook' || add.kind === 'use') ? add.phase : 'release'
    const item: Item = { ...add, id: items.length + 1, in: outer.id, depth: outer.depth + 1, phase, after: [], steps: [] }
    if (add.kind !== 'finalizer')
      item.after = add.after.map((edge) => ('name' in edge ? edge.name : at(edge.of, [item, ...items]).id))
    // Only these have something that stands for them.
    const isKnown = (target: string | number) =>
      typeof target === 'string' || (target !== item.id && /hook|scope/.test((items[target - 1] as Item).kind))
    item.after = item.after.filter(isKnown)
    if (item.kind === 'scope') item.how = 'sync'
    items.push(item)
    // What is registered in flush runs there, beside others.
    if (item.kind !== 'scope' && !(exact && phase === 'flush')) item.steps = add.steps.map((inner) => one(inner, false))
    return { add: item }
  }
  const steps = raw.map((step) => one(step, true))
  // Async functions beside each other end in an order of their own: these programs have either.
  if (exact) {
    const isParallel = items.some(({ parallel, kind }) => parallel && kind === 'scope')
    for (const item of items)
      if (isParallel || item.phase !== 'release')
        item.how = item.how === 'async' ? 'sync' : item.how === 'reject' ? 'throw' : item.how
  }
  return { items, steps }
}

/** Short enough to be read in a failure. */
export function show({ steps }: Program): string {
  const one = (step: Step, indent: string): string => {
    if ('verb' in step)
      return `${indent}${step.wait ? 'await ' : ''}${step.verb} ${step.of} ${step.verb === 'use' ? `into ${step.into}` : ''}`
    const { id, kind, in: outer, name, phase, priority, after, how, ms, parallel, steps: inner } = step.add
    const details = [
      `in ${outer}`,
      name,
      phase !== 'release' && phase,
      priority && `priority ${priority}`,
      after.length > 0 && `after ${JSON.stringify(after)}`,
      kind === 'scope' ? parallel && 'parallel' : how === 'late' ? `late ${ms}` : how,
    ]
    return [
      `${indent}${id}: ${kind} ${details.filter(Boolean).join(', ')}`,
      ...inner.map((next) => one(next, `${indent}    `)),
    ].join('\n')
  }
  return `\n${steps.map((step) => one(step, '')).join('\n')}\n`
}

interface Node {
  item: Item
  after: (string | number)[]
  seq: number
  home: Container
  state: 'waiting' | 'called' | 'over'
  /** Of a scope. */
  scope?: { status: 'open' | 'closing' | 'closed'; members: Container }
}
interface Container {
  owner?: Node
  nodes: Node[]
  /** Names that edges led to, and that are over. */
  met: Set<string | number>
}

/** What a program without timing does, and what it is told. */
export class Model {
  readonly log: string[] = []
  /** Rejections that nobody is told of. */
  readonly unhandled: string[] = []
  /** Steps whose outcome the rules don't give: not to be done. */
  readonly skipped = new Set<Step>()
  /** While something is cleaned up outside of any scope, others may wait for its name. */
  private awaited = new Set<string | number>()
  private nodes = new Map<number, Node>()
  private phases: Container[] = PHASES.map(() => ({ nodes: [], met: new Set() }))
  private phase = -1
  private seq = 0

  /** All steps, then a run. */
  life({ items, steps }: Program): void {
    this.awaited = new Set(items.flatMap(({ after }) => after))
    this.nodes = new Map()
    for (const step of steps) this.step(step, false)
    for (this.phase = 0; this.phase < PHASES.length; this.phase++) this.drain(this.phases[this.phase] as Container)
    this.phase = -1
    this.log.push('life ends')
  }

  private step(step: Step, isInside: boolean): void {
    const told = 'add' in step ? this.add(step.add, step) : this.act(step, isInside)
    if (told) this.log.push(`${'add' in step ? `add ${step.add.id}` : `${step.verb} ${step.of}`}: ${told}`)
  }

  private add(item: Item, step: Step): string | undefined {
    const outer = this.nodes.get(item.in)?.scope
    if (item.in !== 0 && !outer) return undefined
    // Nothing stands for what is not registered yet.
    const after = item.after.filter((target) => typeof target === 'string' || this.nodes.has(target))
    const isLater = (target: string | number) =>
      typeof target === 'number' && PHASES.indexOf(this.nodes.get(target)?.item.phase as Phase) > PHASES.indexOf(item.phase)
    if (item.kind === 'scope' && outer?.status === 'closed') return 'ERR_EXODOS_CLOSED'
    if (after.some(isLater)) return 'ERR_EXODOS_INVALID_ARG'
    const node: Node = { item, after, seq: ++this.seq, home: outer?.members ?? this.rootFor(item), state: 'waiting' }
    if (item.kind === 'scope') node.scope = { status: 'open', members: { owner: node, nodes: [], met: new Set() } }
    if (outer?.status === 'closed') {
      // It never stood there, so its name is not met with it.
      if (this.awaited.has(item.name)) return this.skip(step)
      this.call(node)
      if (item.how === 'reject') this.unhandled.push(`failed ${item.id}`)
      return 'ERR_EXODOS_CLOSED'
    }
    if (this.closesCycle(node, node.home)) return 'ERR_EXODOS_CYCLE'
    node.home.nodes.push(node)
    this.nodes.set(item.id, node)
    return undefined
  }

  /** A phase that is over has no hooks any more: the one under way takes them. */
  private rootFor({ phase }: Item): Container {
    return this.phases[Math.max(this.phase, PHASES.indexOf(phase))] as Container
  }

  private act(step: Act, isInside: boolean): string | undefined {
    if (step.verb === 'finalizers') return isInside ? this.skip(step) : this.finalizers()
    const node = this.nodes.get(step.of)
    if (!node) return undefined
    const { kind, how } = node.item
    switch (step.verb) {
      case 'cancel':
        if ((kind === 'hook' || kind === 'finalizer') && node.state === 'waiting') end(node)
        return undefined
      case 'run':
        if (kind === 'scope' || kind === 'adopt' || node.state !== 'waiting') return undefined
        // Closed early it stays a member until that is done: what it does meanwhile is not what a model without time can tell.
        if (kind === 'use' && node.item.steps.length > 0) return this.skip(step)
        // So does whoever waits for it, if only for a moment.
        if (kind === 'use' && isInside && isAsync(node.item) && this.isAwaited(node.item)) return this.skip(step)
        end(node)
        this.call(node)
        return how === 'throw' ? `failed ${node.item.id}` : undefined
      case 'close':
        if (node.scope?.status === 'closing') return undefined
        if (isInside && !this.isPlain(node)) return this.skip(step)
        return isInside ? void this.close(node) : list(this.close(node))
      case 'move':
        return node.scope?.status === 'open' ? undefined : 'ERR_EXODOS_CLOSED'
      case 'use':
        return this.use(node, step)
      default:
        return undefined
    }
  }

  private isAwaited({ name, id }: Item): boolean {
    return this.awaited.has(name) || this.awaited.has(id)
  }

  private skip(step: Step): undefined {
    this.skipped.add(step)
    return undefined
  }

  /** Closed by hand, all of it is done when the call returns. */
  private isPlain({ scope }: Node): boolean {
    const isPlain = (item: Item): boolean =>
      !isAsync(item) &&
      item.kind !== 'scope' &&
      item.steps.every((step) => ('add' in step ? isPlain(step.add) : step.verb !== 'use'))
    return scope?.members.nodes.every(({ state, item }) => state === 'over' || isPlain(item)) !== false
  }

  private finalizers(): string | undefined {
    const errors: number[] = []
    for (;;) {
      const node = this.ordered(this.phases[3] as Container).find(({ item }) => item.kind === 'finalizer')
      if (!node) return list(errors)
      end(node)
      errors.push(...this.call(node))
    }
  }

  private use(inner: Node, step: Act): string | undefined {
    const outer = this.nodes.get(step.into)
    if (!outer?.scope) return undefined
    if (inner.scope?.status !== 'open') return undefined
    for (let at: Node | undefined = outer; at; at = at.home.owner) if (at === inner) return 'ERR_EXODOS_INVALID_ARG'
    if (inner.home === outer.scope.members) return undefined
    if (outer.scope.status === 'closed') {
      if (!this.isPlain(inner) || this.awaited.has(inner.item.name)) return this.skip(step)
      const told = list(this.close(inner))
      if (told) this.unhandled.push(told)
      return 'ERR_EXODOS_CLOSED'
    }
    if (this.closesCycle(inner, outer.scope.members)) return 'ERR_EXODOS_CYCLE'
    inner.home.nodes.splice(inner.home.nodes.indexOf(inner), 1)
    inner.home = outer.scope.members
    inner.seq = ++this.seq
    inner.home.nodes.push(inner)
    return undefined
  }

  /** Calls a function, or closes a scope. Returns who failed. */
  private call(node: Node): number[] {
    if (node.scope) return this.close(node)
    const { id, how, steps } = node.item
    if (node.state === 'waiting') node.state = 'called'
    this.log.push(`call ${id}`)
    for (const step of steps) this.step(step, true)
    end(node)
    return how === 'throw' || how === 'reject' ? [id] : []
  }

  private close(node: Node): number[] {
    const scope = node.scope as NonNullable<Node['scope']>
    if (scope.status !== 'open') return []
    scope.status = 'closing'
    node.state = 'called'
    const errors = this.drain(scope.members)
    scope.status = 'closed'
    end(node)
    return errors
  }

  /** Higher priority, then newest, of those that wait for nothing: looked for anew after each. */
  private drain(container: Container): number[] {
    const errors: number[] = []
    for (;;) {
      const ordered = this.ordered(container)
      const next = ordered.find((node) => this.before(node, container).length === 0)
      if (!next) return errors
      errors.push(...this.call(next))
    }
  }

  private ordered({ nodes }: Container): Node[] {
    const waiting = nodes.filter(({ state }) => state === 'waiting')
    return waiting.sort((a, b) => b.item.priority - a.item.priority || b.seq - a.seq)
  }

  /** What a node of a container waits for in it. */
  private before(node: Node, container: Container): Node[] {
    return needs(node).flatMap((target) => carriers(target, container).filter((other) => other !== node))
  }

  /** Would it close a cycle in a container that has none: where it is to stand, or around that? */
  private closesCycle(node: Node, container: Container): boolean {
    const levels: [Container, Node][] = [[container, node]]
    for (let at = container.owner; at; at = at.home.owner) {
      if (node.after.includes(at.item.id)) return true
      levels.push([at.home, at])
    }
    const was = levels.map(([level, start]) => start !== node && isCyclic(level, start))
    const { home } = node
    if (home.nodes.includes(node)) home.nodes.splice(home.nodes.indexOf(node), 1)
    container.nodes.push(node)
    const is = levels.map(([level, start]) => isCyclic(level, start))
    container.nodes.pop()
    if (this.nodes.has(node.item.id)) home.nodes.push(node)
    return is.some((cyclic, i) => cyclic && !was[i])
  }
}

export const isAsync = ({ how }: Item) => how !== 'sync' && how !== 'throw'
export const list = (errors: number[]) => (errors.length > 0 ? `failed ${errors.sort((a, b) => a - b).join(' ')}` : undefined)

/** Where the edges of a node lead, with those of a scope's members that lead out of it. */
function needs({ after, scope, state }: Node): (string | number)[] {
  // What has begun waits for nothing any more.
  if (state !== 'waiting') return []
  return [...after, ...(scope ? unmet(scope.members) : [])]
}

/** Where the edges of members lead that have never led to anything in here. */
function unmet(container: Container): (string | number)[] {
  const waiting = container.nodes.filter(({ state }) => state !== 'over').flatMap(needs)
  return waiting.filter((target) => !container.met.has(target) && carriers(target, container).length === 0)
}

/** A node is over: who waits for its name has what it waited for, and doesn't look further outside. */
function end(node: Node): void {
  if (node.state === 'over') return
  node.state = 'over'
  for (let at: Container | undefined = node.home; at?.owner; at = at.owner.home) {
    const begun = at.nodes
      .filter(({ state, scope }) => state === 'called' && scope)
      .flatMap(({ scope }) => unmet((scope as NonNullable<Node['scope']>).members))
    const waits = at.nodes.filter(({ state }) => state === 'waiting').flatMap(needs)
    if ([...waits, ...begun].includes(node.item.name)) at.met.add(node.item.name)
  }
}

/** The nodes not yet over that are what an edge names, or hold it. */
function carriers(target: string | number, { nodes }: Container): Node[] {
  const is = ({ item }: Node) => (typeof target === 'string' ? item.name : item.id) === target
  return nodes.filter(
    (node) => node.state !== 'over' && (is(node) || (node.scope && carriers(target, node.scope.members).length > 0)),
  )
}

/** Does a node wait for itself? A member may name others that are called as its own scope is: that scope isn't meant. */
function isCyclic(container: Container, start: Node): boolean {
  const seen = new Set<Node>([start])
  for (const from of seen) {
    for (const target of needs(from)) {
      for (const next of carriers(target, container)) {
        const isNamesake = from === start && typeof target === 'string' && !start.after.includes(target)
        if (next === start && !isNamesake) return true
        seen.add(next)
      }
    }
  }
  return false
}
