import type { HookRecord } from './hook.js'
import { type Hook, Stack } from './order.js'

const ignore = () => {}

/** To be raised with every change of what follows, or of `Stack` and `Hook`. */
const PROTOCOL = 1

/** The scope that a record stands for. Of a version with another protocol only the record's function is known, which closes it. */
export function scopeOf({ scope }: HookRecord): ScopeState | undefined {
  return scope?.protocol === PROTOCOL ? scope : undefined
}

/** A scope as whoever closes it sees it: a run, or its owner by hand. Copies of exodos with the same protocol share it. */
export class ScopeState {
  readonly protocol = PROTOCOL
  readonly members: Stack
  status: 'open' | 'closing' | 'closed' = 'open'
  /** Resolves when it is closed, with the errors of a closing by hand; made when somebody waits for it. */
  closed: Promise<unknown[]> | undefined
  /** A run is closing it, also what its owner had begun to close. */
  isInRun = false
  /** It was open when the run came: who still uses it is not closing it. */
  isTaken = false
  /** Called when a member comes while the scope is closing. */
  onAdd: (() => void) | undefined
  /** Called when all members are closed. */
  onEnd: (() => void) | undefined

  constructor(
    readonly parallel: boolean,
    readonly record: HookRecord,
  ) {
    this.members = new Stack(ignore, record)
  }

  add(record: HookRecord): void {
    record.place = this.members.add(record)
    this.onAdd?.()
  }

  /** Resolves when a closing that somebody else has begun is over. */
  whenClosed(): Promise<unknown> {
    this.closed ??= new Promise((resolve) => {
      this.onEnd = () => resolve([])
    })
    return this.closed
  }

  /** Is it that scope, or somewhere inside of it? */
  isIn(outer: ScopeState): boolean {
    for (let scope: ScopeState | undefined = this; scope; scope = (scope.record.place as Hook | undefined)?.stack?.owner?.scope)
      if (scope === outer) return true
    return false
  }

  /** All members are closed: takes the scope off where it stood. */
  end(): void {
    this.status = 'closed'
    this.onAdd = undefined
    this.record.place?.remove()
    const { onEnd } = this
    this.onEnd = undefined
    onEnd?.()
  }
}
