/**
 * The one app that all stacks serve. `listen` starts it and says where; what a stack adds is how it is shut down.
 *
 * Routes: /fast, /slow?ms, /stream?seed&chunks&size&ms, /upload, /sse; upgrades: /ws, /upgrade.
 */
import { readFileSync, writeSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'
import https from 'node:https'
import { WebSocketServer } from 'ws'
import { checksum, chunk } from '../content.mjs'

const pem = readFileSync(new URL('../../../packages/web/test/support/localhost.pem', import.meta.url))
const secure = { key: pem, cert: pem }
const make = {
  http: () => http.createServer(handle),
  https: () => https.createServer(secure, handle),
  h2c: () => http2.createServer(handle),
  h2: () => http2.createSecureServer(secure, handle),
}

/** Requests that have no whole answer yet. Event streams aren't among them: they have no end of their own. */
let open = 0

/** Tells the driver something. */
export const say = (what) => writeSync(1, `${JSON.stringify(what)}\n`)

/** What the driver wants to know of the moment in which databases would be closed. */
export const released = () => say({ released: { open } })

/** Makes the servers, which a stack decorates before they listen. */
export function servers(...kinds) {
  const made = Object.fromEntries(kinds.map((kind) => [kind, make[kind]()]))
  for (const kind of ['http', 'https']) made[kind]?.on('upgrade', upgrade)
  return made
}

export async function listen(made) {
  const ports = {}
  for (const [kind, server] of Object.entries(made)) {
    // What the kernel holds for a burst of clients; Node's own 511 would lose some of 5,000 before anybody shuts down.
    await new Promise((done) => server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, done))
    ports[kind] = server.address().port
  }
  say({ ports })
}

function handle(request, response) {
  const url = new URL(request.url, 'http://localhost')
  const number = (name) => Number(url.searchParams.get(name))
  if (url.pathname === '/sse') return sse(response)
  open++
  response.once('close', () => {
    open--
  })
  if (url.pathname === '/fast') response.end(url.search)
  else if (url.pathname === '/slow') setTimeout(() => response.end(url.search), number('ms'))
  else if (url.pathname === '/stream') stream(response, number('seed'), number('chunks'), number('size'), number('ms'))
  else if (url.pathname === '/upload') upload(request, response)
  else response.writeHead(404).end()
}

function stream(response, seed, chunks, size, ms) {
  // Every second one says its length beforehand, the others are chunked.
  if (seed % 2) response.setHeader('Content-Length', chunks * size)
  let n = 0
  const timer = setInterval(() => {
    response.write(chunk(seed, n++, size))
    if (n < chunks) return
    clearInterval(timer)
    response.end()
  }, ms / chunks)
  response.once('close', () => clearInterval(timer))
}

async function upload(request, response) {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => response.end(checksum(...parts)))
}

function sse(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' })
  response.write('data: 0\n\n')
  let n = 0
  const timer = setInterval(() => response.write(`data: ${++n}\n\n`), 250)
  response.once('close', () => clearInterval(timer))
}

const webSockets = new WebSocketServer({ noServer: true })

function upgrade(request, socket, head) {
  socket.on('error', () => {})
  if (request.url === '/ws')
    return webSockets.handleUpgrade(request, socket, head, (ws) => {
      ws.on('error', () => {})
      ws.on('message', (data, isBinary) => ws.send(data, { binary: isBinary }))
    })
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n')
  socket.pipe(socket)
}
