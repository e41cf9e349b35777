import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import type { HttpServer } from '../input/server.js'
import { Connection } from './connection.js'

/** What happens on a server. `request` returns true for one that it will hand on itself, or never. */
export interface Observer {
  connected(connection: Connection): void
  request(connection: Connection, response: ServerResponse, handOn: () => void): boolean
  stream(connection: Connection): void
  gone(): void
  listening(server: HttpServer): void
  closed(server: HttpServer): void
}

/** Where a socket keeps what is known of it. The stand-in for its socket that a session of HTTP/2 shows lets properties through. */
const CONNECTION = Symbol('exodos.connection')
type Followed = Socket & { [CONNECTION]?: Connection; _parent?: Followed }

/**
 * Follows the connections of a server. It looks at the events as they are emitted, by an `emit` of the server's own: a listener
 * for 'upgrade', 'connect' or 'request' would change what Node does with them. Returns how to stop.
 */
export function watch(server: HttpServer, connections: Set<Connection>, observer: Observer): () => void {
  const { emit } = server
  let isOver = false

  function follow(socket: Followed): Connection {
    let connection = socket[CONNECTION]
    if (connection) return connection
    // Of a TLS server the raw socket came first.
    connection = socket._parent?.[CONNECTION]
    if (connection) connection.socket = socket
    else {
      const made = new Connection(socket, server)
      connections.add(made)
      socket.once('close', () => {
        connections.delete(made)
        observer.gone()
      })
      connection = made
    }
    socket[CONNECTION] = connection
    observer.connected(connection)
    return connection
  }

  function look(event: string | symbol, args: unknown[]): boolean {
    switch (event) {
      case 'connection':
      case 'secureConnection':
        follow(args[0] as Socket)
        return false
      case 'request':
      case 'checkContinue':
      case 'checkExpectation': {
        const [request, response] = args as [IncomingMessage, ServerResponse]
        // Streams of HTTP/2 are their session's.
        if (request.httpVersionMajor !== 1) return false
        const connection = follow(request.socket)
        const handsOn = observer.request(connection, response, () => emit.call(server, event as string, ...args))
        connection.requests++
        connection.latest = response
        return handsOn
      }
      case 'upgrade':
      case 'connect': {
        const [request, socket] = args as [IncomingMessage, Socket]
        const connection = follow(socket)
        connection.requests++
        connection.upgraded = /^websocket$/i.test(request.headers.upgrade ?? '') ? 'webSocket' : 'upgraded'
        return false
      }
      case 'session': {
        const session = args[0] as ServerHttp2Session
        const connection = (session.socket as Followed)[CONNECTION]
        if (connection) connection.session = session
        return false
      }
      case 'stream': {
        const stream = args[0] as ServerHttp2Stream
        const connection = (stream.session?.socket as Followed | undefined)?.[CONNECTION]
        if (connection) {
          connection.requests++
          connection.streams.add(stream)
          stream.once('close', () => connection.streams.delete(stream))
          observer.stream(connection)
        }
        return false
      }
      case 'listening':
        observer.listening(server)
        return false
      case 'close':
        observer.closed(server)
        return false
    }
    return false
  }

  const own = function (this: unknown, event: string | symbol, ...args: unknown[]): boolean {
    return (!isOver && this === server && look(event, args)) || emit.call(server, event as string, ...args)
  }
  Object.defineProperty(server, 'emit', { value: own, writable: true, configurable: true })

  return () => {
    isOver = true
    if (server.emit !== own) return
    if (Object.getPrototypeOf(server).emit === emit) delete (server as { emit?: unknown }).emit
    else Object.defineProperty(server, 'emit', { value: emit, writable: true, configurable: true })
  }
}

/** The connection of a request of HTTP/1 or HTTP/2. */
export function connectionOf({ socket }: { socket: unknown }): Connection | undefined {
  return (socket as Followed | null | undefined)?.[CONNECTION]
}
