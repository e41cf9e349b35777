import type { ServerResponse } from 'node:http'
import type { ServerHttp2Stream } from 'node:http2'
import { setTimeout } from 'node:timers'
import type { Connection } from './connection.js'
import type { Settings } from './options.js'

/** How long the client may still send, after the write side has ended, what nobody reads: an upload of which the answer was given … */
export const LAST_ANSWER = 2000
/** … and a request that was on its way. */
export const NO_ANSWER = 500

/** What was told already. */
const told = new WeakSet<object>()

/** Tells what would go on for ever that it is over. To be called often: each is told once. */
export function sayGoodbye(connection: Connection, { ws, sse }: Settings): void {
  switch (connection.use) {
    case 'webSocket':
      closeWebSocket(connection, ws.code, ws.timeout)
      break
    case 'upgraded':
      // Whatever its protocol is, the end of the stream is known to all. It is cut at the deadline.
      connection.leave(Number.POSITIVE_INFINITY)
      break
    case 'session':
      if (connection.requests > 0) closeSession(connection)
      for (const stream of connection.streams) endStream(stream, isEventStream(stream.sentHeaders?.['content-type']), sse)
      break
    case 'busy':
      endStream(connection.latest as ServerResponse, connection.isEventStream, sse)
      break
    default:
  }
}

/** Writes a close frame (RFC 6455, 5.5.1), whatever library has the socket, and gives the client time to answer it. */
function closeWebSocket(connection: Connection, code: number, timeout: number): void {
  const { socket } = connection
  if (told.has(socket)) return
  told.add(socket)
  // The library may not know that its socket is being closed.
  socket.on('error', () => {})
  if (socket.writable) socket.write(Buffer.from([0x88, 2, code >> 8, code & 0xff]))
  setTimeout(() => connection.leave(NO_ANSWER), timeout).unref()
}

/** Sends GOAWAY: streams that the client has begun are answered, later ones may be tried again elsewhere (RFC 9113, 6.8). */
export function closeSession(connection: Connection): void {
  const { session } = connection
  if (!session || session.closed || session.destroyed) return
  session.once('close', () => connection.leave(LAST_ANSWER))
  session.close()
}

function endStream(stream: ServerResponse | ServerHttp2Stream, isEventStream: boolean, sse: Settings['sse']): void {
  if (!isEventStream || sse === 'wait' || told.has(stream)) return
  told.add(stream)
  // The application may go on writing events.
  stream.on('error', () => {})
  try {
    if (typeof sse === 'function') sse(stream as ServerResponse)
  } finally {
    if (!stream.writableEnded) stream.end()
  }
}

function isEventStream(type: unknown): boolean {
  return typeof type === 'string' && /^text\/event-stream/i.test(type)
}
