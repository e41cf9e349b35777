// What each process has: a connection to a copy of its own.
import { rmSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { defineWorker } from '@exodos/pool/worker'
import { connectToCopy } from './connection.mjs'

// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default defineWorker({
  async init({ data: { database, directory }, worker, receipt }) {
    const place = join(directory, `worker-${worker}`)
    // First it is written down what is to be removed, even if this process is killed; then it is made.
    const record = await receipt.path(place, { tree: true })
    const connection = connectToCopy(database, place)
    record.made()
    return { connection, place }
  },

  tasks: {
    report({ title, sql, values }, { resource, worker }) {
      const { name, total } = resource.connection.get(sql, values)
      return { title, name: String(name), total, pid: process.pid, worker }
    },
  },

  async dispose({ connection, place }) {
    connection.close()
    await rm(place, { recursive: true })
  },
  disposeSync({ connection, place }) {
    connection.close()
    rmSync(place, { recursive: true })
  },
})
