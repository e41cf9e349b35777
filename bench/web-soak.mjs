/**
 * Does a server with `drainHttp` keep what is over? Requests on kept-alive connections that come and go, on new connections,
 * and WebSockets, with and without signals; the heap after collections, beside a bare server's. Prints JSON; exits with 1
 * when the heap grows.
 *
 *     node bench/web-soak.mjs [requests]
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { load, startServer } from './web-cost.mjs'

const BATCHES = 50
const WARM_UP = 0.2
/** In MB per 100,000 requests. */
const MOST = 1

const count = Number(process.argv[2] ?? 1_000_000)
const perBatch = Math.ceil(count / BATCHES)

/** Every tenth request has signals, every twentieth both of them, some only after their answer. */
const setup = `
  let asked = 0
  handle = (request, response) => {
    asked++
    if (drain && asked % 10 === 0) drain.signalFor(request)
    if (drain && asked % 20 === 0) drain.signalFor(request, 'draining').addEventListener('abort', () => response.end())
    response.end('done')
  }
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n\\r\\n')
    socket.on('data', () => socket.end(Buffer.from([0x88, 2, 3, 232])))
  })`

const began = performance.now()
const servers = {}
for (const name of ['drained', 'bare'])
  servers[name] = {
    heap: [],
    ...(await startServer(process.execPath, { drained: name === 'drained', setup, options: ['--expose-gc'] })),
  }
for (let batch = 0; batch < BATCHES; batch++) {
  for (const { port, heap, ask } of Object.values(servers)) {
    await uses(port, perBatch)
    heap.push([((batch + 1) * perBatch) / 100_000, (await ask('heap')) / 1e6])
  }
}
for (const { stop } of Object.values(servers)) await stop()

const rounded = (value) => Number(value.toFixed(3))
const tell = ({ heap }) => ({
  heapMB: [heap[BATCHES * WARM_UP], heap.at(-1)].map(([, used]) => rounded(used)),
  slopeMBPer100k: rounded(leastSquares(heap.slice(BATCHES * WARM_UP))),
})
const result = { node: process.version, count: perBatch * BATCHES, drained: tell(servers.drained), bare: tell(servers.bare) }
console.log(JSON.stringify({ ...result, seconds: rounded((performance.now() - began) / 1000) }))
process.exitCode = result.drained.slopeMBPer100k < MOST ? 0 : 1

/** Nine in ten requests on connections of a few hundred, the others each on a connection of its own, one in hundred a WebSocket. */
async function uses(port, count) {
  await load(port, Math.floor(count * 0.9))
  const rest = Math.ceil(count * 0.1)
  for (let n = 0; n < rest; n += 50)
    await Promise.all(
      Array.from({ length: Math.min(50, rest - n) }, (_, i) => ((n + i) % 10 === 0 ? webSocket(port) : load(port, 1, 1))),
    )
}

async function webSocket(port) {
  const socket = connect(port, '127.0.0.1')
  const closed = once(socket, 'close')
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n')
  await once(socket, 'data')
  socket.resume().write(Buffer.from([0x88, 0x82, 0, 0, 0, 0, 3, 232]))
  await closed
}

function leastSquares(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const x = mean(points.map(([at]) => at))
  const y = mean(points.map(([, value]) => value))
  return mean(points.map(([at, value]) => (at - x) * (value - y))) / mean(points.map(([at]) => (at - x) ** 2))
}
