import { rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineWorker } from '@exodos/pool/worker'

/* What it owns is a file, so that one that isn't given back is seen. */
// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default defineWorker({
  init: async ({ data: { dir, name }, worker, receipt }) => {
    const file = `${dir}/${name}-${worker}`
    await receipt.path(file)
    writeFileSync(file, '')
    return file
  },
  tasks: {
    add: ([a, b]) => a + b,
    later: (ms, { signal }) => sleep(ms, ms, { signal }),
    bytes: (bytes, { transfer }) => {
      transfer(bytes.buffer)
      return bytes
    },
    tell: (_, { progress }) => progress(1),
    fail: () => {
      throw new RangeError('fails')
    },
    hang: () => {
      for (;;);
    },
    exit: () => process.exit(3),
    uncaught: () => {
      setTimeout(() => {
        throw new Error('nobody handles this')
      })
      return new Promise(() => {})
    },
    kill: () => process.kill(process.pid, 'SIGKILL'),
    rss: () => process.memoryUsage.rss(),
  },
  dispose: async (file) => {
    await sleep(5)
    rmSync(file)
  },
})
