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
  return `export const source = ${JSON.stringify(outputFiles[0].text)}`
}

/** What the import refers to. */
export const sourceFile = (specifier, dir) => resolve(dir, specifier.replace(/\.js\?source$/, '.ts'))
