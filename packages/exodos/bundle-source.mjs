import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { build } from 'esbuild'

/**
 * `import { source } from './thread.js?source'`: a module, with all that it imports, as the text of a script, for a
 * thread that starts without a file beside us. Used by the build, and by Vitest for tests that import sources.
 */
export async function bundleSource(path) {
  const { outputFiles } = await build({
    entryPoints: [path],
    bundle: true,
    minify: true,
    format: 'cjs',
    platform: 'node',
    target: 'node20.19',
    logLevel: 'warning',
    write: false,
  })
  const { text } = outputFiles[0]
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16)
  return `export const source = ${JSON.stringify(text)}, hash = ${JSON.stringify(hash)}`
}

/** What the import refers to. */
export const sourceFile = (specifier, dir) => resolve(dir, specifier.replace(/\.js\?source$/, '.ts'))
