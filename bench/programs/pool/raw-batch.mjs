// For information: what is given in one turn is one message of 32 tasks at most to each worker in turn.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

const MOST = 32

export function make({ engine, size, serialization = 'advanced' }) {
  const url = new URL('raw-batch-worker.mjs', import.meta.url)
  const waiting = new Map()
  const settle = (results) => {
    for (let at = 0; at < results.length; at += 2) {
      const resolve = waiting.get(results[at])
      waiting.delete(results[at])
      resolve(results[at + 1])
    }
  }
  const workers = Array.from({ length: size }, () => {
    const worker = engine === 'threads' ? new Worker(url) : fork(fileURLToPath(url), { serialization })
    return worker.on('message', settle)
  })
  let ids = 0
  let turn = 0
  let batch = []
  let isDue = false
  const flush = () => {
    isDue = false
    if (batch.length === 0) return
    const worker = workers[turn++ % size]
    if (engine === 'threads') worker.postMessage(batch)
    else worker.send(batch)
    batch = []
  }
  return {
    run: (name, input) =>
      new Promise((resolve) => {
        waiting.set(ids, resolve)
        batch.push(ids++, name, input)
        if (batch.length === MOST * 3) flush()
        else if (!isDue) {
          isDue = true
          queueMicrotask(flush)
        }
      }),
    end: () => workers.map((worker) => (worker.terminate ? worker.terminate() : worker.kill('SIGKILL'))),
  }
}
