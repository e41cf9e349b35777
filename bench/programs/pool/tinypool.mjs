import { Tinypool } from 'tinypool'

export function make({ engine, size, serialization }) {
  const filename = new URL('tinypool-worker.mjs', import.meta.url).href
  const runtime = engine === 'threads' ? 'worker_threads' : 'child_process'
  const pool = new Tinypool({ filename, runtime, minThreads: size, maxThreads: size, serialization })
  return { run: (name, input, transferList) => pool.run(input, { name, transferList }), end: () => pool.destroy() }
}
