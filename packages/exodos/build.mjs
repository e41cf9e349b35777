// Each face is one file: every further file costs an import more than all the work that ours does. So a program that
// loads two faces has two copies of the inside, which share one coordinator as any two copies do.
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { bundleSource, sourceFile } from './bundle-source.mjs'

const dir = fileURLToPath(new URL('.', import.meta.url))
const { values } = parseArgs({ options: { outdir: { type: 'string', default: `${dir}dist` } } })
const outdir = resolve(values.outdir)
const { version } = JSON.parse(readFileSync(`${dir}package.json`, 'utf8'))

try {
  for (const name of readdirSync(outdir)) if (/\.js(\.map)?$/.test(name)) rmSync(`${outdir}/${name}`)
} catch {
  // The first build.
}

/** Parsing is a good part of what an import costs; names stay readable in stack traces. */
const common = {
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  minifySyntax: true,
  minifyWhitespace: true,
  logLevel: 'warning',
}

const sources = {
  name: 'sources',
  setup(b) {
    b.onResolve({ filter: /\?source$/ }, ({ path, resolveDir }) => ({ path: sourceFile(path, resolveDir), namespace: 'source' }))
    b.onLoad({ filter: /./, namespace: 'source' }, async ({ path }) => ({ contents: await bundleSource(path) }))
  },
}

/** `shell` faces are written in terms of the application's face alone, and import it. */
const make = (faces, { shell = false, splitting = false } = {}) =>
  build({
    ...common,
    absWorkingDir: dir,
    entryPoints: faces.map((face) => `src/${face}.ts`),
    outdir,
    format: 'esm',
    splitting,
    chunkNames: 'shared-[hash]',
    sourcemap: true,
    sourcesContent: false,
    // Node shows the line of an error: not one of 4 KB.
    lineLimit: 120,
    // Tells copies apart for whoever looks into a program with several.
    banner: { js: `/* exodos ${process.env.EXODOS_BUILD_VERSION ?? version} */` },
    plugins: shell
      ? [
          {
            name: 'shell',
            setup: (b) => b.onResolve({ filter: /^\.\/index\.js$/ }, () => ({ path: './index.js', external: true })),
          },
        ]
      : [sources],
  })

await make(['index', 'lib', 'testing', 'cli/main'])
await make(['atexit', 'register'], { shell: true })
// These share one guardian: what is common to them is a file that they import.
await make(['durable', 'temp', 'lock', 'tree'], { splitting: true })
