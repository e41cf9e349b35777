// What the application answers. Nothing in here knows that a process ends.
import { Readable } from 'node:stream'
import { setTimeout as wait } from 'node:timers/promises'
import { progress } from './jobs.mjs'

export async function routes(app, { store, state }) {
  const { parameters } = state
  let thisSecond = 0
  let accepted = 0

  app.get('/', async (request, reply) => {
    const { id, session } = state.of(request)
    session.visits++
    reply.header('set-cookie', `sid=${id}; HttpOnly`)
    return { visits: session.visits, pid: process.pid }
  })

  app.post('/jobs', async ({ body: { id, pages } }, reply) => {
    const second = Math.floor(performance.now() / 1000)
    if (second !== thisSecond) [thisSecond, accepted] = [second, 0]
    if (++accepted > parameters.jobsPerSecond) return reply.code(429).header('retry-after', '1').send({ id })
    await store.add({ id, pages, page: 0 })
    return reply.code(202).send({ id })
  })
  app.get('/jobs', () => store.overview())

  app.get('/parameters', () => parameters)
  app.patch('/parameters', ({ body }) => Object.assign(parameters, body))

  app.get('/report', (_, reply) => {
    async function* lines() {
      for (let i = 1; i <= 5; i++) {
        await wait(20)
        yield `line ${i} of 5\n`
      }
    }
    return reply.type('text/plain').send(Readable.from(lines()))
  })

  app.get('/events', (_, reply) => {
    const stream = reply.hijack().raw.writeHead(200, { 'content-type': 'text/event-stream' })
    const send = (job) => stream.write(`data: ${describe(job)}\n\n`)
    progress.on('page', send)
    stream.write(': welcome\n\n')
    stream.on('close', () => progress.off('page', send))
  })

  app.get('/progress', { websocket: true }, (socket) => {
    const send = (job) => socket.send(describe(job))
    progress.on('page', send)
    socket.send('welcome')
    socket.on('close', () => progress.off('page', send))
  })
}

function describe({ id, page, pages }) {
  return `page ${page} of ${pages} of job ${id}`
}
