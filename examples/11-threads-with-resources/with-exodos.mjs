// Threads that have a connection and a directory each. Each thread gives back its own, whichever way it ends.
//
//   node with-exodos.mjs PORT
import { once } from 'node:events'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { closeOnExit } from 'exodos'
import { tempDir } from 'exodos/temp'
import { connect } from './database.mjs'
import { leaveWhenTold, work } from './work.mjs'

if (parentPort) {
  const directory = tempDir({ prefix: 'thread' }).path
  closeOnExit(await connect(workerData), { name: 'connection' })
  work(directory)
} else {
  const threads = Array.from({ length: 3 }, () => new Worker(new URL(import.meta.url), { workerData: Number(process.argv[2]) }))
  const started = await Promise.all(threads.map((thread) => once(thread, 'message')))
  leaveWhenTold(threads, started.flat())
}
