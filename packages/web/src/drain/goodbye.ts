import type { ServerResponse } from 'node:http'
import type { Http2ServerResponse, ServerHttp2Stream } from 'node:http2'
import type { Duplex, Writable } from 'node:stream'
import { setTimeout } from 'node:timers'
import type { Connection } from './connection.js'
import { type Frames, libraryOf } from './frames.js'
import type { Settings } from './options.js'
import { RESPONSE } from './watch.js'

/**
 * How long the client may still send, after the write side has ended, what nobody reads: an upload of which the answer was
 * given …
 */
export const LAST_ANSWER = 1000
/** … and a request that was on its way. */
export const NO_ANSWER = 250

/** What was told already. */
const told = new WeakSet<object>()
/** WebSockets whose time runs. */
const begun = new WeakSet<object>()

/** Tells what would go on for ever that it is over. To be called often: each is told once. */
export function sayGoodbye(connection: Connection, { ws, sse }: Settings, isLate: boolean, fail: (error: unknown) => void): void {
  const { use, socket } = connection
  switch (use) {
    case 'webSocket':
      endWebSocket(socket, connection.frames as Frames, ws, () => connection.leave(NO_ANSWER))
      break
    case 'session':
      if (connection.requests > 0) closeSession(connection)
      for (const [stream, tunnel] of connection.streams) {
        if (!stream.headersSent) continue
        if (tunnel === 'upgraded') isLate && stream.end()
        else if (tunnel) endWebSocket(stream, tunnel, ws, () => stream.end())
        else if (isEventStream(stream)) endEvents(stream, responseOf(stream), sse, fail)
      }
      break
    case 'busy':
      if (connection.isEventStream) endEvents(connection.latest as ServerResponse, connection.latest as ServerResponse, sse, fail)
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

/**
 * Closes a WebSocket: by its library where that can be found, which says so after what is on its way; for others a close frame is
 * written (RFC 6455, 5.5.1) when the last frame is complete. The client is given `timeout` to answer, and then the end of
 * the stream.
 */
function endWebSocket(stream: Duplex, frames: Frames, { code, timeout }: Settings['ws'], end: () => unknown): void {
  if (!begun.has(stream)) {
    begun.add(stream)
    // Who has it may not know that it is being closed.
    stream.on('error', () => {})
    setTimeout(end, timeout).unref()
  }
  const library = libraryOf(stream)
  if (told.has(stream) || !(library || frames.isBetween)) return
  told.add(stream)
  if (library) library.close(code)
  else if (stream.writable) stream.write(Buffer.from([0x88, 2, code >> 8, code & 0xff]))
}

async function endEvents(
  stream: Writable,
  response: Writable,
  sse: Settings['sse'],
  fail: (error: unknown) => void,
): Promise<void> {
  if (sse === 'wait' || told.has(stream)) return
  told.add(stream)
  // The application may go on writing events.
  stream.on('error', () => {})
  response.on('error', () => {})
  try {
    const said = typeof sse === 'function' ? sse(response) : undefined
    // What is no promise is over: its stream ends before anybody writes to it again.
    if (said instanceof Promise) await said
  } catch (error) {
    // The application's own last words.
    fail(error)
  }
  if (!stream.writableEnded) response.end()
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
