// The same with what Node has: a thread hears of its own end alone.
//
//   node without.mjs PORT
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parentPort, Worker, workerData } from 'node:worker_threads'
import { connect } from './database.mjs'
import { leaveWhenTold, work } from './work.mjs'

if (parentPort) {
  const directory = mkdtempSync(join(tmpdir(), 'thread-'))
  // It can't wait for a goodbye.
  process.on('exit', () => rmSync(directory, { recursive: true }))
  await connect(workerData)
  work(directory)
} else {
  process.on('SIGTERM', () => process.exit(143))
  const threads = Array.from({ length: 3 }, () => new Worker(new URL(import.meta.url), { workerData: Number(process.argv[2]) }))
  const started = await Promise.all(threads.map((thread) => once(thread, 'message')))
  leaveWhenTold(threads, started.flat())
}
