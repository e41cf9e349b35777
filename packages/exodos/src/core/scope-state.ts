import type { HookRecord } from './hook.js'
import { Stack } from './order.js'

const ignore = () => {}

/** A scope as whoever closes it sees it: a run, or its owner by hand. Copies of exodos share it. */
export class ScopeState {
  readonly members: Stack
  status: 'open' | 'closing' | 'closed' = 'open'
  /** Somebody waits for the end: of a closing by hand, with its errors. */
  closed: Promise<unknown[]> | undefined
  /** A member is being called by hand, and has not returned yet. */
  isCalling = false
  /** A run is closing it, on the way out. */
  isInRun = false
  /** Called when a member comes while the scope is closing. */
  onAdd: (() => void) | undefined
  private onEnd: ((errors: unknown[]) => void) | undefined

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
      this.onEnd = resolve
    })
    return this.closed
  }

  /** All members are closed: takes the scope off where it stood. */
  end(): void {
    this.status = 'closed'
    this.onAdd = undefined
    this.record.place?.remove()
    this.onEnd?.([])
  }
}
