// Each face is one file: a worker loads no more than it needs. exodos stays what it is: the program's own.
import { build } from 'esbuild'

await build({
  absWorkingDir: new URL('.', import.meta.url).pathname,
  entryPoints: ['src/index.ts', 'src/worker.ts'],
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  external: ['exodos', 'exodos/*'],
  minifySyntax: true,
  // Each worker parses it when it starts; names stay readable in stack traces, and lines short in those of errors.
  minifyWhitespace: true,
  lineLimit: 120,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
})
