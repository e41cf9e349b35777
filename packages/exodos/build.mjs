// The faces share one chunk, so that `import { onExit } from 'exodos'` reads two files and not twenty.
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'

const { version } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
const dir = new URL('.', import.meta.url).pathname
const { values } = parseArgs({ options: { outdir: { type: 'string', default: `${dir}dist` } } })
const outdir = resolve(values.outdir)
for (const name of existsSync(outdir) ? readdirSync(outdir) : []) {
  if (/\.js(\.map)?$/.test(name)) rmSync(`${outdir}/${name}`)
}
await build({
  absWorkingDir: dir,
  entryPoints: ['index', 'lib', 'atexit', 'testing'].map((face) => `src/${face}.ts`),
  outdir,
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
