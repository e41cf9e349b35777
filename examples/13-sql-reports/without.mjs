// The same with jest-worker.
//
//   node without.mjs DIRECTORY
import { fileURLToPath } from 'node:url'
import { Worker } from 'jest-worker'
import { endless, reports, salesIn } from './sales.mjs'
import { leaveBy, print } from './ways.mjs'

const [directory = 'sales', way] = process.argv.slice(2)
const database = salesIn(directory)
process.on('SIGTERM', () => process.exit(143))

const path = fileURLToPath(new URL('without.worker.mjs', import.meta.url))
const pool = new Worker(path, {
  exposedMethods: ['report'],
  numWorkers: 2,
  setupArgs: [database, directory],
  forkOptions: { stdio: 'inherit' },
})
const rows = await Promise.all(reports.map((report) => pool.report(report)))
print(rows)
// It knows no limit.
const runEndless = () => void pool.report(endless)
await leaveBy(way, rows, runEndless)
await pool.end()
