// What each thread has: a directory for what is half done, and a catalogue of what it has made.
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { defineWorker } from '@exodos/pool/worker'
import { tempDir } from 'exodos/temp'
import { openCatalogue } from './catalogue.mjs'
import { isEndless, thumbnail } from './thumbnail.mjs'

// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default defineWorker({
  init: ({ data: { target }, worker }) => ({
    target,
    scratch: tempDir({ parent: target, prefix: `scratch-${worker}` }),
    catalogue: openCatalogue(join(target, `catalogue-${worker}.txt`)),
  }),

  tasks: {
    resize(path, { resource: { target, scratch, catalogue }, worker }) {
      if (isEndless(path)) for (;;);
      const original = readFileSync(path)
      const { bytes, size } = thumbnail(original, 48)
      // Nobody ever sees half a thumbnail.
      const half = join(scratch.path, basename(path))
      writeFileSync(half, bytes)
      renameSync(half, join(target, basename(path)))
      catalogue.add(`${basename(path)} ${size}`)
      return { image: basename(path), thread: worker, before: original.length, after: bytes.length, size }
    },
  },

  dispose: async ({ scratch, catalogue }) => {
    await catalogue.close()
    await scratch.remove()
  },
  disposeSync: ({ scratch, catalogue }) => {
    catalogue.closeSync()
    scratch.removeSync()
  },
})
