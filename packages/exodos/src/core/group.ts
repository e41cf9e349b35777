import type { Hook, Stack } from './order.js'
import type { ScopeState } from './scope-state.js'

/** A stack that a run is closing: the hooks of a phase, or the members of a scope. */
export class Group {
  /** Members that are called and not settled. */
  open = 0
  /** How many of these are scopes. */
  scopes = 0

  constructor(
    readonly stack: Stack,
    /** Calls all that may start, instead of one after another. */
    readonly parallel: boolean,
    /** When its time is up, in milliseconds of the budget. */
    readonly deadline: number,
    /** Of a scope: where it stands. */
    readonly inside?: { readonly group: Group; readonly hook: Hook; readonly scope: ScopeState },
  ) {}

  /** The names of the scopes that it is in, the outermost first. */
  get path(): string[] {
    const names: string[] = []
    for (let at = this.inside; at; at = at.group.inside) names.unshift(at.hook.record.name)
    return names
  }

  isIn(scope: ScopeState): boolean {
    for (let at = this.inside; at; at = at.group.inside) if (at.scope === scope) return true
    return false
  }
}
