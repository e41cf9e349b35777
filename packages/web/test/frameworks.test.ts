import { expect, test } from 'vitest'
import { start } from '../../exodos/test/support/program.js'
import { get, web } from './support/app.js'
import { users } from './support/load.js'
import { connect } from './support/wire.js'

/** Where the framework's server is Node's, and nothing of the framework has to be closed. */
const drained = `drainHttp(server)
    onExit(() => say('closed'), { name: 'app' })
    await once(server, 'listening')`

/**
 * Each makes `server`, with `/now` and `/held`, which waits for a line on stdin; and closes itself in release, after the
 * drain. `closed` is what its own end has to say.
 */
const frameworks = {
  'Fastify 5': `
    import Fastify from 'fastify'
    const app = Fastify()
    app.get('/now', async () => 'now')
    app.get('/held', async () => { await go(); return 'held' })
    app.addHook('onClose', async () => { await sleep(10); say('closed') })
    await app.ready()
    const { server } = app
    drainHttp(server)
    onExit(() => app.close(), { name: 'app' })
    await app.listen({ port: 0, host: '127.0.0.1' })`,
  'Express 5': `
    import express from 'express'
    const app = express()
    app.get('/now', (_, response) => response.send('now'))
    app.get('/held', async (_, response) => { await go(); response.send('held') })
    const server = app.listen(0, '127.0.0.1')
    ${drained}`,
  'Koa 3': `
    import Koa from 'koa'
    const app = new Koa()
    app.use(async (ctx) => {
      if (ctx.path === '/held') await go()
      ctx.body = ctx.path.slice(1)
    })
    const server = app.listen(0, '127.0.0.1')
    ${drained}`,
  'Hono 4': `
    import { serve } from '@hono/node-server'
    import { Hono } from 'hono'
    const app = new Hono()
    app.get('/now', (c) => c.text('now'))
    app.get('/held', async (c) => { await go(); return c.text('held') })
    const server = serve({ fetch: app.fetch, port: 0, hostname: '127.0.0.1' })
    ${drained}`,
  'node:http, closed in release': `
    import { createServer } from 'node:http'
    const server = createServer(async (request, response) => {
      if (request.url === '/held') await go()
      response.end(request.url.slice(1))
    })
    drainHttp(server)
    onExit(() => new Promise((done) => server.close(() => { say('closed'); done() })), { name: 'app' })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')`,
}

const program = (framework: string) => `
  import { once } from 'node:events'
  import { writeSync } from 'node:fs'
  import { setTimeout as sleep } from 'node:timers/promises'
  import { onExit } from 'exodos'
  import { drainHttp } from '${web}'
  const say = (text) => writeSync(1, text + '\\n')
  let line
  const go = () => { say('held'); return (line ??= once(process.stdin, 'data')) }
  ${framework}
  onExit(() => say('draining'), { phase: 'drain' })
  say('port ' + server.address().port + ' ready')`

async function begin(framework: string) {
  const app = start(program(framework), { stdio: ['pipe', 'pipe', 'pipe'], env: { EXODOS_GRACE: '4s' } })
  await app.until('ready')
  return { ...app, port: Number(/port (\d+)/.exec(app.printed())?.[1]) }
}

test.each(Object.entries(frameworks))('%s: all is answered, then it closes', async (_, framework) => {
  const app = await begin(framework)
  let isLeaving = false
  // New connections are refused from then on; those that are there go on asking.
  const load = users(20, get('/now'), () => (isLeaving ? undefined : app.port), AbortSignal.timeout(10_000), { think: 100 })
  const held = await connect(app.port)
  await held.send(get('/held'))
  await app.until('held')
  app.kill('SIGTERM')
  isLeaving = true
  await app.until('draining')
  app.child.stdin?.write('go\n')
  expect(await held.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'held' }])
  const seen = await load
  expect(seen).toEqual({ 200: expect.any(Number), lost: 0 })
  expect(seen[200]).toBeGreaterThanOrEqual(20)
  const { signal, stderr, lines } = await app.ended
  expect({ signal, stderr, last: lines.at(-1) }).toEqual({ signal: 'SIGTERM', stderr: '', last: 'closed' })
})

const sockets = {
  'ws on node:http': `
    import { createServer } from 'node:http'
    import { WebSocketServer } from 'ws'
    const server = createServer((request, response) => response.end('now'))
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (socket) => {
      socket.on('message', (text) => socket.send('echo ' + text)).on('close', (code) => say('code ' + code))
    })
    drainHttp(server)
    onExit(() => new Promise((done) => sockets.close(() => { say('closed'); done() })), { name: 'app' })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')`,
  '@fastify/websocket': `
    import Fastify from 'fastify'
    import websocket from '@fastify/websocket'
    const app = Fastify()
    await app.register(websocket)
    app.get('/now', async () => 'now')
    app.get('/', { websocket: true }, (socket) => {
      socket.on('message', (text) => socket.send('echo ' + text)).on('close', (code) => say('code ' + code))
    })
    app.addHook('onClose', async () => { await sleep(10); say('closed') })
    await app.ready()
    const { server } = app
    drainHttp(server)
    onExit(() => app.close(), { name: 'app' })
    await app.listen({ port: 0, host: '127.0.0.1' })`,
}

test.each(Object.entries(sockets))('%s: its clients are told 1001, and it closes', async (_, framework) => {
  const app = await begin(framework)
  const clients = start(
    `
    import { WebSocket } from 'ws'
    const one = () => new Promise((resolve) => {
      const socket = new WebSocket('ws://127.0.0.1:${app.port}/')
      socket.on('open', () => socket.send('hello')).on('message', () => resolve())
      socket.on('error', (error) => console.log(error.message)).on('close', (code) => console.log('code ' + code))
    })
    await Promise.all(Array.from({ length: 5 }, one))
    console.log('connected')`,
  )
  await clients.until('connected')
  const idle = await connect(app.port)
  await idle.send(get('/now'))
  await idle.answers()
  app.kill('SIGTERM')
  await app.until('draining')
  await idle.send(get('/now'))
  expect((await idle.answers(2))[1]).toMatchObject({ status: 200, headers: { connection: 'close' }, body: 'now' })
  const { signal, stderr, lines } = await app.ended
  expect({ signal, stderr, last: lines.at(-1) }).toEqual({ signal: 'SIGTERM', stderr: '', last: 'closed' })
  expect(lines.filter((line) => line === 'code 1001')).toHaveLength(5)
  expect((await clients.ended).lines).toEqual(['connected', ...Array(5).fill('code 1001')])
})
