import { ExodosError } from 'exodos'
import type { Connection } from './connection.js'

export type SignalKind = 'draining' | 'deadline'

/** The signals of one request; `until` is what is closed when it is over. */
export interface RequestSignals {
  readonly request: object
  readonly until: { readonly closed: boolean } | undefined
  readonly draining: AbortController
  readonly deadline: AbortController
}

/** Returns the signals of a request, made when they are first asked for. Those of earlier ones are forgotten. */
export function signalsOf(connection: Connection, request: object, until: RequestSignals['until']): RequestSignals {
  connection.signals = connection.signals.filter((one) => !one.until?.closed)
  let signals = connection.signals.find((one) => one.request === request)
  if (!signals) {
    signals = { request, until, draining: new AbortController(), deadline: new AbortController() }
    connection.signals.push(signals)
  }
  return signals
}

/** Tells a request. */
export function abort(signals: RequestSignals, kind: SignalKind): void {
  if (signals.until?.closed) return
  const text = kind === 'draining' ? 'the server is draining' : "the drain's deadline is near"
  signals[kind].abort(new ExodosError('ERR_EXODOS_ABORTED', `request: ${text}`))
}
