import { dirname } from 'node:path'
import { defineConfig } from 'vitest/config'
import { bundleSource, sourceFile } from './packages/exodos/bundle-source.mjs'

export default defineConfig({
  plugins: [
    {
      name: 'sources',
      enforce: 'pre',
      resolveId: (id, importer) =>
        /\?source$/.test(id) && importer ? `\0source:${sourceFile(id, dirname(importer))}` : undefined,
      load: (id) => (id.startsWith('\0source:') ? bundleSource(id.slice('\0source:'.length)) : undefined),
    },
  ],
  test: {
    include: ['packages/*/test/**/*.test.ts', 'examples/test/**/*.test.ts'],
    globalSetup: ['packages/exodos/test/support/leftovers.ts'],
    testTimeout: 30_000,
    // Real processes on few cores: more files at a time only make each of them slower.
    maxWorkers: 2,
  },
})
