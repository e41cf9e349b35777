import type { ServerResponse } from 'node:http'
import { Server } from 'node:net'
import type { HttpServer } from '../input/server.js'

/** How to give a server its own methods back. */
const restores = new WeakMap<HttpServer, () => void>()

/**
 * Whoever calls `server.close()` while the server is drained, or after that, is called back when it is closed. The server's
 * own would close connections that are idle, and report an error when there is nothing left to close.
 */
export function leaveClosingToUs(server: HttpServer): void {
  if (restores.has(server)) return
  const before = ['closeIdleConnections', 'close'].map((name) => [name, Object.getOwnPropertyDescriptor(server, name)] as const)
  const own = Object.hasOwn(server, 'close') ? server.close : undefined
  const closed = (callback?: (error?: Error) => void) => {
    if (typeof callback !== 'function') return
    if (isOpen(server)) server.once('close', () => callback())
    else process.nextTick(callback)
  }
  shadow(server, 'closeIdleConnections', () => {})
  shadow(server, 'close', (callback?: (error?: Error) => void) => {
    // Who has a `close` of its own does more than that.
    if (own) own.call(server, () => closed(callback))
    else closed(callback)
    return server
  })
  restores.set(server, () => {
    restores.delete(server)
    for (const [name, descriptor] of before) {
      if (descriptor) Object.defineProperty(server, name, descriptor)
      else delete (server as unknown as Record<string, unknown>)[name]
    }
  })
}

/** The drain is over. When the server listens again, that is a new life. */
export function giveClosingBack(server: HttpServer): void {
  server.once('listening', () => restores.get(server)?.())
}

function shadow(server: HttpServer, name: string, value: unknown): void {
  Object.defineProperty(server, name, { value, configurable: true, writable: true })
}

export function stopListening(server: HttpServer): void {
  // Not the server's own `close`: that of http destroys idle connections, that of http2 closes sessions.
  if (server.listening) Server.prototype.close.call(server)
}

/** Node looks now and then for connections that take too long; http's own `close` ends that, and lets go of the server. */
export function forgetChecks(server: HttpServer): void {
  const key = Object.getOwnPropertySymbols(server).find((symbol) => symbol.description?.endsWith('connectionsCheckingInterval'))
  if (key) clearInterval((server as unknown as Record<symbol, NodeJS.Timeout | undefined>)[key])
}

/** Is it listening, or has it connections, of whatever kind? */
export function isOpen(server: HttpServer): boolean {
  return server.listening || ((server as { _connections?: number })._connections ?? 0) > 0
}

/** An application that says `Connection: keep-alive` itself, as proxies do, doesn't know better now. */
export function sayCloseIn(response: ServerResponse): void {
  const { writeHead } = response
  const own = function (this: ServerResponse, status: number, ...rest: unknown[]): ServerResponse {
    // Set anew for a response behind which another request has come.
    if (this.shouldKeepAlive) return writeHead.apply(this, [status, ...rest] as never)
    if (this.hasHeader('connection')) this.setHeader('Connection', 'close')
    // Node says `close` where nobody says anything.
    const quiet = rest.map((arg) => (typeof arg === 'object' && arg !== null ? withoutConnection(arg) : arg))
    return writeHead.apply(this, [status, ...quiet] as never)
  }
  response.writeHead = own as typeof writeHead
}

/** Headers come as an object, as pairs, or as names and values in turn. */
function withoutConnection(headers: object): object {
  const isConnection = (name: unknown) => typeof name === 'string' && name.toLowerCase() === 'connection'
  if (!Array.isArray(headers)) return Object.fromEntries(Object.entries(headers).filter(([name]) => !isConnection(name)))
  if (Array.isArray(headers[0])) return headers.filter(([name]) => !isConnection(name))
  return headers.filter((_, index) => !isConnection(headers[index - (index % 2)]))
}
