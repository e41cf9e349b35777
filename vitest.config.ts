import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['packages/*/test/**/*.test.ts', 'examples/test/**/*.test.ts'],
    globalSetup: ['packages/exodos/test/support/leftovers.ts'],
    testTimeout: 30_000,
    // Real processes on few cores: more files at a time only make each of them slower.
    maxWorkers: 2,
  },
})
