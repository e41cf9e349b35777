// The lower bound: one message a task, and a Map of promises.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'

export const make = (options) => start(options, 'raw-worker.mjs')

function start({ engine, size, serialization = 'advanced' }, file) {
  const url = new URL(file, import.meta.url)
  const waiting = new Map()
  const settle = ([id, value]) => {
    const resolve = waiting.get(id)
    waiting.delete(id)
    resolve(value)
  }
  const workers = Array.from({ length: size }, () => {
    const worker = engine === 'threads' ? new Worker(url) : fork(fileURLToPath(url), { serialization })
    return worker.on('message', settle)
  })
  const [each] = workers
  const send = each.postMessage
    ? (worker, message, transfer) => worker.postMessage(message, transfer)
    : (worker, message) => worker.send(message)
  let ids = 0
  return {
    run: (name, input, transfer) =>
      new Promise((resolve) => {
        const id = ids++
        waiting.set(id, resolve)
        send(workers[id % size], [id, name, input], transfer)
      }),
    end: () => workers.map((worker) => (worker.terminate ? worker.terminate() : worker.kill('SIGKILL'))),
  }
}
