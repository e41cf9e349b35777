import { fileURLToPath } from 'node:url'
import workerpool from 'workerpool'

export function make({ engine, size, serialization }) {
  const script = fileURLToPath(new URL('workerpool-worker.mjs', import.meta.url))
  const workerType = engine === 'threads' ? 'thread' : 'process'
  const pool = workerpool.pool(script, { workerType, minWorkers: size, maxWorkers: size, forkOpts: { serialization } })
  return { run: (name, input, transfer) => pool.exec(name, [input], { transfer }), end: () => pool.terminate(true) }
}
