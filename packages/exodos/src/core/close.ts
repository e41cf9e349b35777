import { BY_HAND } from './hook.js'
import type { Hook } from './order.js'
import type { ScopeState } from './scope-state.js'
import { isThenable } from './work.js'

/** Of all scopes whose owners are closing them, the one whose member is being called at this moment. */
let calling: ScopeState | undefined

/** Is the code that is running a member, before its first `await`, of what is closed by hand in this scope? */
export const isCallingIn = (scope: ScopeState): boolean => calling?.isIn(scope) === true

/** Closes a scope, or joins its closing. Resolves with the errors, for who began it. */
export function close(scope: ScopeState): Promise<readonly unknown[]> {
  if (scope.status === 'closed') return Promise.resolve([])
  if (scope.status === 'closing') return scope.whenClosed().then(() => [])
  scope.status = 'closing'
  let done = (_: unknown[]) => {}
  scope.closed = new Promise((resolve) => {
    done = resolve
  })
  advance(new Closing(scope, done))
  return scope.closed
}

const waiting: Closing[] = []
let isAdvancing = false

/** One after another, however deep scopes are nested: what a member begins to close goes on when that member has returned. */
function advance(closing: Closing): void {
  waiting.push(closing)
  if (isAdvancing) return
  isAdvancing = true
  for (let next = waiting.shift(); next; next = waiting.shift()) next.advance()
  isAdvancing = false
}

/**
 * Closes the members of a scope for its owner, outside of any run: no limits, in the async context of the caller.
 *
 * Goes on synchronously until a member returns a promise. When a run comes to the scope, that one closes the rest, and
 * waits for what was begun here.
 */
class Closing {
  private readonly errors: unknown[] = []
  private open = 0

  constructor(
    private readonly scope: ScopeState,
    private readonly done: (errors: unknown[]) => void,
  ) {
    scope.onEnd = () => advance(this)
    // Not at once: who adds something has not got it back yet.
    scope.onAdd = () => void Promise.resolve().then(scope.onEnd)
  }

  /** Calls what may be called now: the next member, in a parallel scope all of them. */
  advance(): void {
    const { scope } = this
    while (!scope.isInRun && (scope.parallel || this.open === 0)) {
      const member = scope.members.shift(true)
      if (!member) break
      this.call(member)
    }
    if (this.open > 0) return
    if (!scope.isInRun && scope.status === 'closing') scope.end()
    if (scope.status === 'closed') this.done(this.errors)
  }

  private call(member: Hook): void {
    const { members } = this.scope
    const outer = calling
    let result: PromiseLike<unknown> | undefined
    calling = this.scope
    // A run that begins in there finds it open.
    members.opened(member)
    try {
      const returned = member.record.fn(BY_HAND)
      if (isThenable(returned)) result = returned
    } catch (error) {
      this.errors.push(error)
    }
    calling = outer
    member.onResult?.(result)
    if (result) this.await(member, result)
    else members.settled(member)
  }

  private await(member: Hook, result: PromiseLike<unknown>): void {
    const { members } = this.scope
    this.open++
    const settle = () => {
      this.open--
      members.settled(member)
      advance(this)
    }
    member.result = new Promise((resolve) => resolve(result))
    member.result.then(settle, (error) => {
      this.errors.push(error)
      settle()
    })
  }
}

type SuppressedErrorClass = new (error: unknown, suppressed: unknown, message: string) => Error
const NativeSuppressedError = (globalThis as { SuppressedError?: unknown }).SuppressedError as SuppressedErrorClass | undefined

/**
 * The errors of a closing as one. A single error stays itself; of several each suppresses the one before it, as TC39's
 * `SuppressedError` has it (on Node < 24 an error of that name and shape). All are in `errors`, too: Node's `util.inspect`
 * shows no `error` and `suppressed`, and nothing that is nested deep. `body` is the error that the closing followed.
 */
export function suppressing(errors: readonly unknown[], where: string, body?: { error: unknown }): unknown {
  const all = body ? [body.error, ...errors] : [...errors]
  if (all.length === 1) return all[0]
  const message = `${all.length} errors ${where}`
  const last = all.reduce((suppressed, error) => suppressedError(error, suppressed, message)) as Error
  Object.defineProperty(last, 'errors', { value: all, enumerable: true, writable: true, configurable: true })
  if (body) Object.defineProperty(last, 'cause', { value: body.error, writable: true, configurable: true })
  return last
}

function suppressedError(error: unknown, suppressed: unknown, message: string): Error {
  if (NativeSuppressedError) return new NativeSuppressedError(error, suppressed, message)
  const value = { writable: true, configurable: true }
  return Object.defineProperties(new Error(message), {
    name: { value: 'SuppressedError', ...value },
    error: { value: error, ...value },
    suppressed: { value: suppressed, ...value },
  })
}
