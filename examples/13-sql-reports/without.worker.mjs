// The same for jest-worker, which calls `setup` and `teardown`. On other ways out there is the 'exit' event.
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { connectToCopy } from './connection.mjs'

let connection
let place

export function setup(database, directory) {
  place = join(directory, `worker-${process.env.JEST_WORKER_ID}`)
  connection = connectToCopy(database, place)
  process.once('exit', teardown)
}

export function report({ title, sql, values }) {
  const { name, total } = connection.get(sql, values)
  return { title, name: String(name), total, pid: process.pid, worker: Number(process.env.JEST_WORKER_ID) }
}

export function teardown() {
  if (connection?.isOpen) connection.close()
  rmSync(place, { recursive: true, force: true })
}
