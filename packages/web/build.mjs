// Each face is one file, as those of exodos itself are; exodos stays what it is: the program's own.
import { build } from 'esbuild'

const dir = new URL('.', import.meta.url).pathname

await build({
  absWorkingDir: dir,
  entryPoints: ['src/index.ts'],
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  external: ['exodos'],
  minifySyntax: true,
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
})
await build({
  absWorkingDir: dir,
  entryPoints: ['src/register.ts'],
  outdir: 'dist',
  platform: 'node',
  target: 'node20.19',
  format: 'esm',
  sourcemap: true,
  sourcesContent: false,
  logLevel: 'warning',
})
