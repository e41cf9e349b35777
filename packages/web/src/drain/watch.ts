import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse, ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import { Socket } from 'node:net'
import type { HttpServer } from '../input/server.js'
import { Connection } from './connection.js'

/** What happens on a server. */
export interface Observer {
  /** Is a drain under way? Until then nothing is done with a request but to note it. */
  readonly isDraining: boolean
  connected(connection: Connection): void
  /** In a drain: to be handed on later, or never. */
  request(connection: Connection, response: ServerResponse, handOn: () => void): void
  stream(connection: Connection): void
  gone(): void
  listening(server: HttpServer): void
  closed(): void
}

/**
 * Where a socket, a stream, or a request keeps what is known of its connection. The stand-in for its socket that a session
 * of HTTP/2 shows lets properties through.
 */
const CONNECTION = Symbol('exodos.connection')
type Followed = { [CONNECTION]?: Connection | undefined }
/** A TLS socket, and what it is made from. */
type FollowedSocket = Socket & Followed & { _parent?: Followed }

/** The connections of each server: they outlive a drain that is cancelled. */
const connections = new WeakMap<HttpServer, Set<Connection>>()

export function connectionsOf(server: HttpServer): Set<Connection> {
  const open = connections.get(server) ?? new Set()
  connections.set(server, open)
  return open
}

/** The connection of a request, or a stream, of HTTP/1 or HTTP/2. Undefined for what never came over one. */
export function connectionOf(request: IncomingMessage | Http2ServerRequest): Connection | undefined {
  return ('stream' in request ? (request.stream as Followed | undefined) : (request.socket as Followed | undefined))?.[CONNECTION]
}

/**
 * Follows the connections of a server. It looks at the events as they are emitted, by an `emit` of the server's own: a listener
 * for 'upgrade', 'connect' or 'request' would change what Node does with them. Returns how to stop.
 */
export function watch(server: HttpServer, observer: Observer): () => void {
  const open = connectionsOf(server)
  const isTls = 'setSecureContext' in server
  const before = Object.getOwnPropertyDescriptor(server, 'emit')
  const prototype = Object.getPrototypeOf(server) as { emit: HttpServer['emit'] }
  let isOver = false

  /** Somebody may replace that of the prototype later. */
  const emit = (event: string | symbol, ...args: unknown[]): boolean =>
    ((before?.value as typeof prototype.emit | undefined) ?? prototype.emit).call(server, event as 'request', ...args)

  /** Undefined for what only looks like a request: tests have such. */
  function follow(socket: FollowedSocket | null | undefined): Connection | undefined {
    const known = socket?.[CONNECTION]
    if (known?.server === server) return known
    if (typeof socket?.once !== 'function' || typeof socket.destroy !== 'function') return undefined
    // Handed over by another server, as a proxy does.
    known?.forget()
    // Of a TLS server the raw socket came first.
    const raw = socket._parent?.[CONNECTION]
    let connection = raw?.server === server ? raw : undefined
    if (connection) connection.socket = socket
    else {
      const made = new Connection(socket, server, () => {
        if (open.delete(made)) observer.gone()
      })
      open.add(made)
      socket.once('close', made.forget)
      connection = made
    }
    socket[CONNECTION] = connection
    observer.connected(connection)
    return connection
  }

  function requested(event: string, request: IncomingMessage, response: ServerResponse): boolean {
    // Streams of HTTP/2 are their session's. Somebody may emit a request once more: that is the same one.
    if (request?.httpVersionMajor !== 1) noteResponse(request, response)
    else {
      const connection = follow(request.socket)
      if (connection && !observer.isDraining) connection.serve(response)
      else if (connection && !connection.hasBegun(response)) {
        observer.request(connection, response, () => void emit(event, request, response))
        return true
      }
    }
    return emit(event, request, response)
  }

  function look(event: string | symbol, args: unknown[]): void {
    switch (event) {
      case 'connection':
        // What TLS is spoken over can't be told from the TLS socket later where it is no socket itself.
        if (!isTls || args[0] instanceof Socket) follow(args[0] as Socket)
        break
      case 'secureConnection':
        follow(args[0] as Socket)
        break
      case 'upgrade':
      case 'connect': {
        const [request, socket] = args as [IncomingMessage, Socket]
        const connection = follow(socket)
        connection?.handOn()
        connection?.takenOver(/^websocket$/i.test(request.headers.upgrade ?? '') ? 'webSocket' : 'upgraded')
        break
      }
      case 'clientError':
        // What came before it is to be begun before it.
        ;(args[1] as Followed | undefined)?.[CONNECTION]?.handOn()
        break
      case 'session': {
        const session = args[0] as ServerHttp2Session
        const connection = (session.socket as Followed)[CONNECTION]
        if (connection) connection.session = session
        break
      }
      case 'stream': {
        const [stream, headers] = args as [ServerHttp2Stream & Followed, Record<string, unknown>]
        const connection = (stream.session?.socket as Followed | undefined)?.[CONNECTION]
        if (!connection) break
        stream[CONNECTION] = connection
        connection.beginStream(stream, headers)
        observer.stream(connection)
        break
      }
      case 'listening':
        observer.listening(server)
        break
      case 'close':
        observer.closed()
        break
      default:
    }
  }

  const own = function (this: unknown, event: string | symbol, ...args: unknown[]): boolean {
    if (isOver) return emit(event, ...args)
    // First what is often: the cost of each request.
    if (event === 'request' || event === 'checkContinue' || event === 'checkExpectation')
      return requested(event, args[0] as IncomingMessage, args[1] as ServerResponse)
    look(event, args)
    return emit(event, ...args)
  }
  Object.defineProperty(server, 'emit', { value: own, writable: true, configurable: true })

  return () => {
    isOver = true
    // Somebody else's is above ours otherwise, and calls it.
    if (server.emit !== own) return
    if (before) Object.defineProperty(server, 'emit', before)
    else delete (server as { emit?: unknown }).emit
  }
}

/** Of a stream: what its handler was given to answer it with. */
export const RESPONSE = Symbol('exodos.response')

function noteResponse(request: unknown, response: unknown): void {
  const { stream } = (request ?? {}) as { stream?: { [RESPONSE]?: Http2ServerResponse } }
  if (stream) stream[RESPONSE] = response as Http2ServerResponse
}
