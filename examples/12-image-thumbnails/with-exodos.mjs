// Makes thumbnails of the JPEGs in a directory, in two threads. However it ends, each thread closes its catalogue and
// removes its directory.
//
//   node with-exodos.mjs DIRECTORY
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { createPool } from '@exodos/pool'
import { exiting } from 'exodos'
import { Progress } from './progress.mjs'
import { samplesIn } from './samples.mjs'
import { leaveBy, withoutEnd } from './ways.mjs'

const [directory = 'photos', way] = process.argv.slice(2)
const target = join(directory, 'thumbnails')
const images = samplesIn(directory)
mkdirSync(target, { recursive: true })

const pool = createPool(new URL('images.worker.mjs', import.meta.url), {
  size: 2,
  data: { target },
  // A task that has been told to end, and doesn't, costs its thread.
  timeout: { abort: '200ms' },
})
await pool.ready
const progress = new Progress(images.length)
try {
  // On the way out no more are begun.
  const options = { inFlight: 6, timeout: '1m', signal: exiting }
  for await (const row of pool.map('resize', way ? withoutEnd(images, way) : images, options)) {
    progress.add(row)
    leaveBy(way, progress)
  }
  progress.print()
} catch (error) {
  if (!exiting.aborted) throw error
}
