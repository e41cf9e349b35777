import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import { ExodosError } from 'exodos'
import type { Connection } from './connection.js'

export type SignalKind = 'draining' | 'deadline'

/** The signals of one request. */
export interface RequestSignals {
  readonly request: object
  readonly draining: AbortController
  readonly deadline: AbortController
}

/** Returns the signals of a request, made when they are first asked for, and forgotten when it is over. */
export function signalsOf(connection: Connection | undefined, request: IncomingMessage | Http2ServerRequest): RequestSignals {
  for (const signals of connection?.signals ?? []) if (signals.request === request) return signals
  const signals = { request, draining: new AbortController(), deadline: new AbortController() }
  if (!connection) return signals
  connection.signals.add(signals)
  const forget = () => connection.signals.delete(signals)
  if ('stream' in request) request.stream.closed ? forget() : request.stream.once('close', forget)
  else whenAnswered(connection, request, forget)
  return signals
}

/** Of several requests of a connection that are under way, the one that is being answered is known. */
function whenAnswered(connection: Connection, request: IncomingMessage, callback: () => void): void {
  const { latest, socket } = connection
  // An upgrade has no response.
  if (connection.isUpgraded) socket.once('close', callback)
  else if (!latest || latest.closed) callback()
  else latest.once('close', () => (latest.req === request ? callback() : whenAnswered(connection, request, callback)))
}

/** Tells a request. */
export function abort(signals: RequestSignals, kind: SignalKind): void {
  const text = kind === 'draining' ? 'the server is draining' : "the drain's deadline is near"
  signals[kind].abort(new ExodosError('ERR_EXODOS_ABORTED', `request: ${text}`))
}
