import { fileURLToPath } from 'node:url'
import { FixedClusterPool, FixedThreadPool } from 'poolifier'

export function make({ engine, size, serialization }) {
  const file = (name) => fileURLToPath(new URL(name, import.meta.url))
  const pool =
    engine === 'threads'
      ? new FixedThreadPool(size, file('poolifier-thread.mjs'))
      : new FixedClusterPool(size, file('poolifier-process.cjs'), { settings: { serialization } })
  return { run: (name, input, transfer) => pool.execute(input, name, undefined, transfer), end: () => pool.destroy() }
}
