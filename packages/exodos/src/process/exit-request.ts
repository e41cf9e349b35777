import { clock } from './clock.js'
import { realProcess } from './real.js'

/**
 * Thrown by `process.exit()` while asynchronous hooks run, to unwind the caller as Python's SystemExit does. It is
 * swallowed wherever it reaches the top; code that catches it sees one line and can't revoke the exit.
 */
export class ExitRequest extends Error {
  override readonly name: string = 'ExitRequest'
  readonly exitCode: number

  constructor(exitCode: number) {
    super(`process.exit(${exitCode}) was called: exit hooks are running, then the process ends. Let this error pass`)
    this.exitCode = exitCode
    // One line is all that a `.catch(console.error)` on the way up should show.
    this.stack = `ExitRequest: ${this.message}`
    ofLeaving(this)
    for (const key of ['name', 'exitCode', 'stack']) Object.defineProperty(this, key, { enumerable: false })
  }
}

const BRAND = Symbol.for('exodos.exit-request')

/** True for requests of any copy of exodos, and of any realm. */
export function isExitRequest(error: unknown): error is ExitRequest {
  try {
    return typeof error === 'object' && error !== null && (error as Record<symbol, unknown>)[BRAND] === true
  } catch {
    return false
  }
}

/** Marks an error that comes of leaving: where it reaches the top, it is swallowed as a request is. */
export function ofLeaving<T extends Error>(error: T): T {
  return Object.defineProperty(error, BRAND, { value: true })
}

/** How many requests were made, and how many of them came up to the top again. */
export const requests = { made: 0, surfaced: 0 }

const MOST_IN_A_ROW = 50
let inARow = 0

/** Counts a request; false when the caller seems to catch and retry for ever, without giving the loop a turn. */
export function countRequest(): boolean {
  if (inARow++ === 0)
    clock.soon(() => {
      inARow = 0
    })
  if (inARow > MOST_IN_A_ROW) return false
  requests.made++
  return true
}

const seen = new WeakSet<ExitRequest>()

/** Has a request come up to the top unharmed? That is where it ends; it may come up in several events, and counts once. */
export function surfaced(error: unknown): boolean {
  if (!isExitRequest(error)) return false
  if (!seen.has(error)) requests.surfaced++
  seen.add(error)
  return true
}

/** Leaves Node's domains, so that their error handlers don't see the request thrown next. */
export function leaveDomains(): void {
  type Domain = { exit(): void } | undefined | null
  const current = () => (realProcess as unknown as { domain?: Domain }).domain
  for (let domain = current(); domain; domain = current()) domain.exit()
}
