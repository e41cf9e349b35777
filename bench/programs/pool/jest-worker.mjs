import { fileURLToPath } from 'node:url'
import { Worker } from 'jest-worker'

export function make({ engine, size, serialization }) {
  const pool = new Worker(fileURLToPath(new URL('tasks.cjs', import.meta.url)), {
    numWorkers: size,
    enableWorkerThreads: engine === 'threads',
    exposedMethods: ['noop', 'echo', 'spin'],
    forkOptions: engine === 'threads' ? {} : { serialization },
  })
  return { run: (name, input) => pool[name](input), end: () => pool.end() }
}
