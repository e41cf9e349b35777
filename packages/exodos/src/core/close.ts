import { BY_HAND } from './hook.js'
import type { Hook } from './order.js'
import type { ScopeState } from './scope-state.js'
import { isThenable } from './work.js'

/**
 * Closes the members of a scope for its owner, outside of any run: no limits, in the async context of the caller.
 *
 * Goes on synchronously until a member returns a promise. Resolves with the errors, in the order of their coming.
 */
export function closeByHand(scope: ScopeState): Promise<unknown[]> {
  return new Promise((resolve) => new Closing(scope, resolve).advance())
}

class Closing {
  private readonly errors: unknown[] = []
  private open = 0
  private advancing = false

  constructor(
    private readonly scope: ScopeState,
    private readonly done: (errors: unknown[]) => void,
  ) {
    scope.onAdd = () => this.advance()
  }

  /** Calls what may be called now: the next member, in a parallel scope all of them. */
  advance(): void {
    const { scope } = this
    if (this.advancing || scope.status !== 'closing') return
    this.advancing = true
    while (scope.parallel || this.open === 0) {
      const member = scope.members.shift(true)
      if (!member) break
      this.call(member)
    }
    this.advancing = false
    if (this.open > 0) return
    scope.end()
    this.done(this.errors)
  }

  private call(member: Hook): void {
    const { scope } = this
    let result: PromiseLike<unknown> | undefined
    scope.isCalling = true
    try {
      const returned = member.record.fn(BY_HAND)
      if (isThenable(returned)) result = returned
    } catch (error) {
      this.errors.push(error)
    }
    scope.isCalling = false
    if (result) this.await(member, result)
    else scope.members.settled(member)
  }

  private await(member: Hook, result: PromiseLike<unknown>): void {
    const { members } = this.scope
    this.open++
    members.opened(member)
    const settle = () => {
      this.open--
      members.settled(member)
      this.advance()
    }
    Promise.resolve(result).then(settle, (error) => {
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
