import { ExodosError } from 'exodos'
import type { Connection } from './connection.js'

export type SignalKind = 'draining' | 'deadline'

/** The signals of one request. */
export interface RequestSignals {
  readonly request: object
  readonly draining: AbortController
  readonly deadline: AbortController
}

/** What tells that a request is over: its response, or its stream. */
interface Closing {
  readonly closed: boolean
  once(event: 'close', listener: () => void): unknown
}

/** Returns the signals of a request, made when they are first asked for, and forgotten when it is over. */
export function signalsOf(connection: Connection | undefined, request: object, until: Closing | undefined): RequestSignals {
  for (const signals of connection?.signals ?? []) if (signals.request === request) return signals
  const signals = { request, draining: new AbortController(), deadline: new AbortController() }
  if (connection && until && !until.closed) {
    connection.signals.add(signals)
    until.once('close', () => connection.signals.delete(signals))
  }
  return signals
}

/** Tells a request. */
export function abort(signals: RequestSignals, kind: SignalKind): void {
  const text = kind === 'draining' ? 'the server is draining' : "the drain's deadline is near"
  signals[kind].abort(new ExodosError('ERR_EXODOS_ABORTED', `request: ${text}`))
}
