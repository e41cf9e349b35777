// What the application finds around it: a registry of services, Redis where it is installed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { onExit } from 'exodos'
import { Redis } from 'ioredis'

/** Where services say that they come (PUT) and go (DELETE). */
export async function startRegistry() {
  const urls = new Set()
  const server = createServer(({ method, url }, response) => {
    urls[method === 'PUT' ? 'add' : 'delete'](decodeURIComponent(url.slice(1)))
    response.writeHead(204).end()
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const close = () => server.close().closeAllConnections()
  return { url: `http://127.0.0.1:${server.address().port}`, urls, close }
}

/** The Redis that REDIS_URL names, else one of our own in `dir`; undefined where none is installed. */
export async function findRedis(dir, prefix) {
  const url = process.env.REDIS_URL
  if (url) return { url, close: () => forget(url, prefix) }
  const socket = join(dir, 'redis.sock')
  const server = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--dir', dir], { stdio: 'ignore' })
  const exited = once(server, 'exit').catch(() => {})
  onExit(() => server.kill() && exited, { name: 'redis', after: 'app' })
  // It connects again and again until it is connected.
  const client = new Redis(socket).on('error', () => {})
  const answer = await Promise.race([client.ping(), exited])
  client.disconnect()
  if (answer !== 'PONG') return
  return { url: socket, close: () => server.kill() && exited }
}

/** Removes what has been written. */
async function forget(url, prefix) {
  const redis = new Redis(url)
  const keys = await redis.keys(`${prefix}*`)
  if (keys.length > 0) await redis.del(keys)
  await redis.quit()
}

export async function freePort() {
  const server = createServer()
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address()
  await new Promise((done) => server.close(done))
  return port
}
