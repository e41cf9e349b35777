import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { neverDrained } from '../input/server.js'
import type { Responder } from './answer.js'

/** A server for probes alone. It answers as long as the event loop turns, and never keeps it turning. */
export function serveProbes(port: number, host: string, respond: Responder) {
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    if (!respond(request, response)) response.writeHead(404, { Connection: 'close', 'Content-Length': 0 }).end()
  }
  const server = createServer({ headersTimeout: 5000, requestTimeout: 5000, connectionsCheckingInterval: 1000 }, answer)
  neverDrained.add(server)
  server.on('connection', (socket) => socket.unref())
  server.unref()
  server.listen(port, host)
  const listening = once(server, 'listening').then(
    () => server.address() as AddressInfo,
    (cause: NodeJS.ErrnoException) => {
      throw Object.assign(new Error(`probes: ${cause.message}`, { cause }), { code: cause.code })
    },
  )
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      server.closeAllConnections()
    })
  return { listening, close }
}
