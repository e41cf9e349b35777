import { createPool } from '@exodos/pool'

export function make({ engine, size }) {
  const pool = createPool(new URL('exodos-worker.mjs', import.meta.url), { engine, size })
  return {
    run: (name, input, transfer) => (transfer ? pool.run(name, input, { transfer }) : pool.run(name, input)),
    end: () => pool.close(),
  }
}
