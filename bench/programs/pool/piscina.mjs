import { Piscina } from 'piscina'

export function make({ size }) {
  const filename = new URL('piscina-worker.mjs', import.meta.url).href
  const pool = new Piscina({ filename, minThreads: size, maxThreads: size, recordTiming: false })
  return { run: (name, input, transferList) => pool.run(input, { name, transferList }), end: () => pool.destroy() }
}
