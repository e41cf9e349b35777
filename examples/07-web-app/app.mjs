// A web application with all that it has to see to when it is told to leave. It can be killed by SIGTERM and started
// again at any moment: no request, job or session is lost. show.mjs does that.
//
//   node app.mjs DIRECTORY [PORT [REGISTRY_URL]]          with REDIS_URL in the environment, or a database in DIRECTORY
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { drainHttp, probes, ready } from '@exodos/web'
import websocket from '@fastify/websocket'
import { closeOnExit, configure, onExit, track } from 'exodos'
import fastify from 'fastify'
import { runJobs } from './jobs.mjs'
import { routes } from './routes.mjs'
import { restoreState } from './sessions.mjs'
import { openStore } from './store.mjs'

const [dir, port = 0, registry] = process.argv.slice(2)

// All of it together: less than the 10 seconds that containers are usually given before they are killed.
configure({ grace: '8s' })
// Alive, started, ready? On a port of their own, so that they are answered to the end.
probes({ port: Number(process.env.PROBES_PORT ?? 0) })

// The log is closed last: `flush` comes after everything that may have something to say.
const log = closeOnExit(createWriteStream(join(dir, 'app.log'), { flags: 'a' }), { name: 'log', phase: 'flush' })
const say = (text) => log.write(`${new Date().toISOString()} ${process.pid} ${text}\n`)

// Opened before everything that uses it, and so closed after it: `release` goes from the newest to the oldest.
const store = closeOnExit(await openStore(dir), { name: 'db' })

// Saved when no request and no job can change it any more. Where nothing can be waited for, in 'exit', into a file.
const state = await restoreState(store, dir)
say(`${state.sessions.size} sessions restored`)
onExit(state.save, { name: 'sessions', phase: 'save', sync: state.saveSync })

// The connections are drained first; the framework's own end, with its onClose hooks, has nothing left to cut then. On the
// way out an idle connection is kept for a second more than here, so that its client's next request is answered. Behind a
// balancer it has to be more than the balancer itself keeps one.
const app = fastify({ keepAliveTimeout: 1000 })
onExit(() => app.close(), { name: 'fastify' })
drainHttp(app.server, { sse: sayGoodbye })
await app.register(websocket)
await app.register(routes, { store, state })

// Each job says what becomes of it: finished, or handed over to the next process.
await runJobs(store)
onExit(() => say(`jobs: ${JSON.stringify(track.stats())}`), { name: 'jobs: say', phase: 'save' })

const url = await app.listen({ port: Number(port), host: '127.0.0.1' })

// Who sends requests is told first, while they are still answered.
if (registry) {
  await announce('PUT', AbortSignal.timeout(1000))
  onExit(({ signal }) => announce('DELETE', signal), { name: 'registry', phase: 'announce', timeout: '1s' })
}

// The readiness probe says yes from now on, and systemd and PM2 are told, where there is one.
ready()
console.log(url)

/** The last event of a stream. Clients come back by themselves, and not all of them in the same moment. */
function sayGoodbye(stream) {
  stream.write(`event: leaving\nretry: ${1000 + Math.floor(Math.random() * 4000)}\ndata: come back\n\n`)
}

async function announce(method, signal) {
  const { ok, status } = await fetch(`${registry}/${encodeURIComponent(url)}`, { method, signal })
  if (!ok) throw new Error(`the registry answered ${status}`)
}
