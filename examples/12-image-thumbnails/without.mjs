// The same with piscina.
//
//   node without.mjs DIRECTORY
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'
import { Progress } from './progress.mjs'
import { samplesIn } from './samples.mjs'
import { leaveBy, withoutEnd } from './ways.mjs'

const [directory = 'photos', way] = process.argv.slice(2)
const target = join(directory, 'thumbnails')
const images = samplesIn(directory)
mkdirSync(target, { recursive: true })
process.on('SIGTERM', () => process.exit(143))

const filename = fileURLToPath(new URL('without.worker.mjs', import.meta.url))
const pool = new Piscina({ filename, minThreads: 2, maxThreads: 2, workerData: { target } })
const progress = new Progress(images.length)
const rest = way ? withoutEnd(images, way) : images.values()
// Six at a time.
const row = async () => {
  for await (const image of rest) {
    progress.add(await pool.run(image, { signal: AbortSignal.timeout(60_000) }))
    leaveBy(way, progress)
  }
}
await Promise.all(Array.from({ length: 6 }, row))
await pool.close()
progress.print()
