// Reports on the sales in a directory, by two processes with a connection each. However it ends, each connection is closed,
// and what belongs to it is removed.
//
//   node with-exodos.mjs DIRECTORY
import { createPool } from '@exodos/pool'
import { exiting } from 'exodos'
import { endless, reports, salesIn } from './sales.mjs'
import { leaveBy, print } from './ways.mjs'

const [directory = 'sales', way] = process.argv.slice(2)
const database = salesIn(directory)

const pool = createPool(new URL('reports.worker.mjs', import.meta.url), {
  engine: 'processes',
  size: 2,
  data: { database, directory },
  timeout: { abort: '200ms', dispose: '500ms' },
})
const rows = await pool.map('report', reports, { inFlight: 4, signal: exiting }).toArray()
print(rows)
// With its own limit: whoever doesn't keep it loses its process.
const runEndless = () => pool.run('report', endless, { timeout: '500ms' }).catch((error) => console.log(error.code))
await leaveBy(way, rows, runEndless)
