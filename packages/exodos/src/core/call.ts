import { type Duration, parseDuration } from './deadline.js'
import { ExodosError } from './errors.js'
import type { Group } from './group.js'
import { type HookContext, type HookRecord, hookName, hookSite, type Phase, type Reason } from './hook.js'
import type { Run } from './run.js'

/** How a hook ended; `cut` means that the event loop ended first, with the hook unsettled or never started. */
export type CallStatus = 'running' | 'ok' | 'failed' | 'overdue' | 'cut'

/** One call of one hook. */
export class Call {
  status: CallStatus = 'running'
  started = true
  error: unknown
  /** In milliseconds since the run began. */
  end = 0
  statusText: string | undefined
  /** What it says that it has done. */
  result: unknown
  /** What it said that it waited for, when it was given up: later on it may have come to its end. */
  state: unknown
  /** How the hook settled after it was overdue or cut. */
  late: 'ok' | 'failed' | undefined
  /** Has it asked for a lease? */
  extended = false
  /** When its time is up, in milliseconds of the budget. */
  deadline = 0
  private controller: AbortController | undefined
  private aborted: unknown

  constructor(
    readonly run: Run,
    readonly record: HookRecord,
    readonly phase: Phase,
    /** What it is a part of. */
    readonly group: Group,
    readonly begin: number,
  ) {}

  get signal(): AbortSignal {
    this.controller ??= new AbortController()
    if (this.aborted) this.controller.abort(this.aborted)
    return this.controller.signal
  }

  abort(why: string): void {
    this.aborted ??= new ExodosError('ERR_EXODOS_ABORTED', `hook ${hookName(this.record)}: ${why}`)
    this.controller?.abort(this.aborted)
  }
}

/** What a hook is given. Its methods may be taken off it: `({ status }) => status('…')`. */
export class Context implements HookContext {
  constructor(private readonly call: Call) {}

  get reason(): HookContext['reason'] {
    const { reasons } = this.call.run
    return { ...(reasons.at(-1) as Reason), first: reasons[0] as Reason }
  }

  get signal(): AbortSignal {
    return this.call.signal
  }

  get remaining() {
    const { call } = this
    return () => (call.status === 'running' ? Math.max(0, call.deadline - call.run.budget.spent()) : 0)
  }

  get extend() {
    const { call } = this
    return (duration: Duration) => {
      const ms = parseDuration(duration, 'extend(duration)')
      if (call.status !== 'running') return 0
      const { budget } = call.run
      const now = budget.spent()
      call.extended = true
      call.deadline = Math.max(call.deadline, Math.min(now + ms, budget.total - budget.reserve / 2))
      return Math.max(0, Math.min(ms, call.deadline - now))
    }
  }

  get status() {
    const { call } = this
    return (text: string) => {
      call.statusText = String(text)
      call.run.stepped()
    }
  }

  get result() {
    const { call } = this
    return (value: unknown) => {
      call.result = value
    }
  }
}

/** "db (in app; registered at /app/db.js:3:1; status: closing)". */
export function describe({ record, statusText, group }: Call, withPlace: boolean): string {
  const name = withPlace ? hookName(record) : record.name || '(anonymous)'
  const site = withPlace ? hookSite(record) : undefined
  const scope = group.path.join(' › ')
  const details = [
    scope && `in ${scope}`,
    site && site !== name && `registered at ${site}`,
    statusText && `status: ${statusText}`,
  ].filter(Boolean)
  return details.length > 0 ? `${name} (${details.join('; ')})` : name
}
