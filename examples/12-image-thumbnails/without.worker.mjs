// The same for piscina, which tells a thread nothing of its end: what Node has is the 'exit' event.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { threadId, workerData } from 'node:worker_threads'
import { openCatalogue } from './catalogue.mjs'
import { isEndless, thumbnail } from './thumbnail.mjs'

const { target } = workerData
const scratch = mkdtempSync(join(target, `scratch-${threadId}-`))
const catalogue = openCatalogue(join(target, `catalogue-${threadId}.txt`))
process.on('exit', () => {
  catalogue.closeSync()
  rmSync(scratch, { recursive: true })
})

// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default function resize(path) {
  if (isEndless(path)) for (;;);
  const original = readFileSync(path)
  const { bytes, size } = thumbnail(original, 48)
  const half = join(scratch, basename(path))
  writeFileSync(half, bytes)
  renameSync(half, join(target, basename(path)))
  catalogue.add(`${basename(path)} ${size}`)
  return { image: basename(path), thread: threadId, before: original.length, after: bytes.length, size }
}
