import type { ServerResponse } from 'node:http'
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Duplex } from 'node:stream'
import { setTimeout } from 'node:timers'
import type { Connection, Tunnel } from './connection.js'
import type { Settings } from './options.js'
import { RESPONSE } from './watch.js'

/** How long the client may still send, after the write side has ended, what nobody reads: an upload of which the answer was given … */
export const LAST_ANSWER = 2000
/** … and a request that was on its way. */
export const NO_ANSWER = 500

/** What was told already. */
const told = new WeakSet<object>()

/** Tells what would go on for ever that it is over. To be called often: each is told once. */
export function sayGoodbye(connection: Connection, { ws, sse }: Settings): void {
  const { use, socket } = connection
  switch (use) {
    case 'webSocket':
    case 'upgraded':
      // Whatever a tunnel's protocol is, the end of the stream is known to all. It is cut at the deadline.
      endTunnel(use, socket, ws, (ms = Number.POSITIVE_INFINITY) => connection.leave(ms))
      break
    case 'session':
      if (connection.requests > 0) closeSession(connection)
      for (const [stream, tunnel] of connection.streams) {
        if (!stream.headersSent) continue
        if (tunnel) endTunnel(tunnel, stream, ws, () => stream.end())
        else if (isEventStream(stream)) endEvents(stream, responseOf(stream), sse)
      }
      break
    case 'busy':
      if (connection.isEventStream) endEvents(connection.latest as ServerResponse, connection.latest as ServerResponse, sse)
      break
    default:
  }
}

/** Sends GOAWAY: streams that the client has begun are answered, later ones may be tried again elsewhere (RFC 9113, 6.8). */
export function closeSession(connection: Connection): void {
  const { session } = connection
  if (!session || session.closed || session.destroyed) return
  session.once('close', () => connection.leave(LAST_ANSWER))
  session.close()
}

function endTunnel(kind: Tunnel, stream: Duplex, { code, timeout }: Settings['ws'], end: (ms?: number) => unknown): void {
  if (told.has(stream)) return
  told.add(stream)
  // Who has it may not know that it is being closed.
  stream.on('error', () => {})
  if (kind === 'upgraded') {
    end()
    return
  }
  closeWebSocket(stream, code)
  setTimeout(() => end(NO_ANSWER), timeout).unref()
}

/**
 * Has its library close the WebSocket where that can be found, after what is on its way. For others a close frame is written (RFC
 * 6455, 5.5.1); but not where a proxy writes what somebody else has made: it might be in the middle of a frame.
 */
function closeWebSocket(stream: Duplex, code: number): void {
  // `ws`.
  const key = Object.getOwnPropertySymbols(stream).find(({ description }) => description === 'websocket')
  const webSocket = key && (stream as unknown as Record<symbol, { close?(code: number): void } | undefined>)[key]
  const isPipedInto = stream.listenerCount('unpipe') > 0
  if (typeof webSocket?.close === 'function') webSocket.close(code)
  else if (stream.writable && !isPipedInto) stream.write(Buffer.from([0x88, 2, code >> 8, code & 0xff]))
}

function endEvents(
  stream: ServerResponse | ServerHttp2Stream,
  response: ServerResponse | Http2ServerResponse | ServerHttp2Stream,
  sse: Settings['sse'],
): void {
  if (sse === 'wait' || told.has(stream)) return
  told.add(stream)
  // The application may go on writing events.
  stream.on('error', () => {})
  response.on('error', () => {})
  try {
    if (typeof sse === 'function') sse(response)
  } finally {
    if (!stream.writableEnded) response.end()
  }
}

/** What the handler of a stream answers with. */
function responseOf(stream: ServerHttp2Stream): Http2ServerResponse | ServerHttp2Stream {
  return (stream as { [RESPONSE]?: Http2ServerResponse })[RESPONSE] ?? stream
}

function isEventStream({ sentHeaders }: ServerHttp2Stream): boolean {
  return Object.entries(sentHeaders).some(
    ([name, value]) => name.toLowerCase() === 'content-type' && /^text\/event-stream/i.test(String(value)),
  )
}
