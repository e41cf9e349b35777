// The faces share one chunk, so that `import { onExit } from 'exodos'` reads two files and not twenty.
import { readFileSync, rmSync, readdirSync } from 'node:fs'
import { build } from 'esbuild'

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
const dir = new URL('.', import.meta.url).pathname
for (const name of readdirSync(`${dir}dist`)) {
  if (/\.js(\.map)?$/.test(name)) rmSync(`${dir}dist/${name}`)
}
await build({
  absWorkingDir: dir,
  entryPoints: ['index', 'lib', 'atexit', 'testing'].map((face) => `src/${face}.ts`),
  outdir: 'dist',
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  sourcemap: true,
  // Parsing is most of what an import costs; names stay readable in stack traces.
  minifySyntax: true,
  minifyWhitespace: true,
  sourcesContent: false,
  packages: 'external',
  define: { __VERSION__: JSON.stringify(process.env.EXODOS_BUILD_VERSION ?? version) },
  logLevel: 'warning',
})
