// A server of several processes. SIGHUP replaces them one by one, and no request is lost; SIGTERM and Ctrl-C end all of them;
// one that crashes is replaced.
//
//   PORT=8080 node server.mjs
import cluster from 'node:cluster'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { configure } from 'exodos'
import { stopOnExit } from 'exodos/tree'

const WORKERS = 2
/** Milliseconds: one that crashes as soon as it is started isn't replaced in a busy loop. */
const PAUSE = 500

configure({ signals: { SIGHUP: 'app' } })
cluster.setupPrimary({ exec: fileURLToPath(new URL('worker.mjs', import.meta.url)) })

/** A worker that listens. Whichever way this process ends, its workers end with it. */
async function start() {
  const worker = stopOnExit(cluster.fork())
  const crashed = once(worker, 'exit').then(() => Promise.reject(new Error(`worker ${worker.id} did not start`)))
  const [address] = await Promise.race([once(worker, 'listening'), crashed])
  console.log(`worker ${worker.id} listens, PID ${worker.process.pid}`)
  return address
}

cluster.on('exit', (worker, code, signal) => {
  // True for those that this process has told to go, and for all of them once it leaves.
  if (worker.exitedAfterDisconnect) return
  console.log(`worker ${worker.id} has crashed (${signal ?? code})`)
  setTimeout(() => {
    if (Object.keys(cluster.workers).length < WORKERS) start().catch((error) => console.error(error.message))
  }, PAUSE)
})

let isRestarting = false

/** The old one goes when the new one listens; if that doesn't start, the old ones stay. */
async function restart() {
  if (isRestarting) return
  isRestarting = true
  try {
    for (const old of Object.values(cluster.workers)) {
      await start()
      if (old.isDead()) continue
      const gone = once(old, 'exit')
      old.disconnect()
      await gone
    }
    console.log('restarted')
  } catch (error) {
    console.error(error.message)
  }
  isRestarting = false
}

process.on('SIGHUP', restart)

const [{ port }] = await Promise.all(Array.from({ length: WORKERS }, start))
console.log(`listening on http://127.0.0.1:${port}`)
