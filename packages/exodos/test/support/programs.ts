import {
  closeOnExit,
  type Finalizer,
  finalize,
  type HookContext,
  onExit,
  type Registration,
  runFinalizers,
  type Scope,
  scope,
} from '../../src/index.js'
import { type FakeClock, fakeClock, type IsolatedExits, isolateExits } from '../../src/testing.js'
import { type Act, type Item, isAsync, list, type Program, type Step } from './model.js'

/** What happened, in order. `over` means settled, `up` that the run has stopped waiting. */
export interface Event {
  what: 'add' | 'call' | 'over' | 'up' | 'cancel' | 'hand' | 'close' | 'use' | 'force'
  id: number
  at: number
  /** Called by a run, and not by hand. */
  inRun?: boolean
  /** It was called with no time left. */
  isLast?: boolean
}

/** The error of one item. */
class Failure extends Error {
  constructor(readonly id: number) {
    super(`failed ${id}`)
  }
}

/** The ids of those that failed, or the code of an error of exodos. */
export function told(error: unknown): string {
  const all = (one: unknown): unknown[] => (one as { errors?: unknown[] }).errors?.flatMap(all) ?? [one]
  const errors = all(error)
  const codes = errors.filter((one) => !(one instanceof Failure)).map((one) => (one as { code?: string })?.code ?? String(one))
  return codes.join(' ') + (list(errors.filter((one) => one instanceof Failure).map(({ id }) => id)) ?? '')
}

/** Does a program with exodos. */
export class Real {
  readonly clock: FakeClock = fakeClock()
  // What comes soon comes before time passes.
  readonly exits: IsolatedExits = isolateExits({ clock: { ...this.clock, soon: (callback) => this.clock.wait(0, callback) } })
  /** As the model's. */
  readonly log: string[] = []
  events: Event[] = []
  /** What closing by hand has led to: undefined while it is under way. */
  closings: { id: number; result?: string }[] = []
  private handles = new Map<number, Registration | Scope | Finalizer<object, readonly [], unknown> | { close(): unknown }>()
  private readonly kept: object[] = []

  constructor(private readonly skipped: ReadonlySet<Step> = new Set()) {}

  begin(): void {
    this.handles = new Map()
    this.events = []
    this.closings = []
  }

  /** `exact` programs wait for what they close. */
  async steps({ steps }: Program, exact: boolean): Promise<void> {
    for (const step of steps) {
      const result = this.step(step, false)
      if (exact) await result
      else if ('wait' in step && step.wait) await Promise.race([result, this.clock.advance(2000)])
    }
  }

  private step(step: Step, isInside: boolean): Promise<unknown> | undefined {
    if (this.skipped.has(step)) return undefined
    const say = (error: unknown) =>
      void this.log.push(`${'add' in step ? `add ${step.add.id}` : `${step.verb} ${step.of}`}: ${told(error)}`)
    try {
      if ('add' in step) return void this.add(step.add)
      const done = this.act(step)
      return done?.catch(isInside ? () => {} : say)
    } catch (error) {
      say(error)
      return undefined
    }
  }

  private note(what: Event['what'], id: number, more: Partial<Event> = {}): void {
    this.events.push({ what, id, at: this.clock.now(), ...more })
  }

  private add(item: Item): void {
    const { id, kind, name, priority, phase, parallel } = item
    const outer = this.handles.get(item.in) as Scope | undefined
    if (item.in !== 0 && !outer) return
    const after = item.after
      .map((to) => (typeof to === 'string' ? to : this.handles.get(to)))
      .filter(
        (to): to is string | Scope | Registration =>
          typeof to === 'string' || typeof to === 'function' || (to !== undefined && 'adopt' in to),
      )
    const options = { name, priority, after }
    const fn = this.functionOf(item)
    if (kind === 'scope') {
      this.handles.set(id, outer ? outer.scope({ ...options, parallel }) : scope({ ...options, parallel }))
    } else if (kind === 'finalizer') {
      const target = id % 2 ? {} : null
      if (target) this.kept.push(target)
      this.handles.set(
        id,
        finalize(target, () => fn(), { name, priority }),
      )
    } else if (kind === 'use') {
      const resource = { close: () => fn() }
      if (outer) outer.use(resource, options)
      else closeOnExit(resource, { ...options, phase })
      this.handles.set(id, resource)
    } else if (kind === 'adopt') {
      if (outer) outer.adopt(id, (_value, ctx) => fn(ctx), options)
      else onExit(fn, options)
      this.handles.set(id, { close: () => {} })
    } else {
      this.handles.set(id, outer ? outer.defer(fn, options) : onExit(fn, { ...options, phase }))
    }
    this.note('add', id)
  }

  private functionOf(item: Item): (ctx?: HookContext) => unknown {
    const { id, how, ms, steps } = item
    const body = (ctx?: HookContext) => {
      this.log.push(`call ${id}`)
      this.note('call', id, { inRun: ctx?.remaining() !== Number.POSITIVE_INFINITY, isLast: ctx?.remaining() === 0 })
      ctx?.signal.addEventListener('abort', () => this.note('up', id))
      for (const step of steps) this.step(step, true)
    }
    const end = () => {
      this.note('over', id)
      if (how === 'throw' || how === 'reject') throw new Failure(id)
    }
    if (!isAsync(item))
      return (ctx) => {
        body(ctx)
        end()
      }
    return async (ctx) => {
      body(ctx)
      if (how === 'hang') await new Promise(() => {})
      if (how === 'late') await new Promise<void>((resolve) => this.clock.wait(ms, resolve))
      end()
    }
  }

  private act(step: Act): Promise<unknown> | undefined {
    const handle = this.handles.get(step.of) as
      | (Registration & Scope & Finalizer<object, readonly [], unknown> & { close(): unknown })
      | undefined
    if (step.verb === 'finalizers') {
      this.note('hand', 0)
      for (const [id, one] of this.handles) if ('detach' in one) this.note('hand', id)
      return runFinalizers()
    }
    if (step.verb === 'force') {
      this.note('force', 0)
      return void this.exits.force()
    }
    if (step.verb === 'exit') return this.exits.run({ code: 1 }).then(undefined, () => {})
    if (!handle) return undefined
    const isScope = 'adopt' in handle
    const run = handle.run ?? handle.call ?? handle.close
    switch (step.verb) {
      case 'cancel': {
        const cancel = handle.cancel ?? handle.detach
        if (isScope || !cancel) return undefined
        this.note('cancel', step.of)
        return void cancel.call(handle)
      }
      case 'run':
        // The result of an async one belongs to its caller.
        if (!isScope && run && !this.events.some(({ what, id }) => what === 'call' && id === step.of)) {
          this.note('hand', step.of)
          Promise.resolve(run.call(handle)).catch(() => {})
        }
        return undefined
      case 'close':
        return isScope ? this.close(step.of, handle) : undefined
      case 'move':
        if (isScope) this.handles.set(step.of, handle.move())
        return undefined
      default: {
        const into = this.handles.get(step.into)
        if (isScope && into && 'adopt' in into) {
          this.note('use', step.of)
          into.use(handle)
        }
        return undefined
      }
    }
  }

  private async close(id: number, handle: Scope): Promise<void> {
    this.note('close', id)
    const closing: Real['closings'][number] = { id }
    this.closings.push(closing)
    try {
      await handle.disposeAsync()
      closing.result = ''
    } catch (error) {
      closing.result = told(error)
      throw error
    }
  }
}
