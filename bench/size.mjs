/** The size of all that an import can reach: bundled, minified, gzipped. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const sources = { exodos: 'index', 'exodos/lib': 'lib' }
const gzip = (data) => gzipSync(data, { level: 9 }).length
const kilobytes = (bytes) => `${(bytes / 1000).toFixed(2)} KB`

/** `from` may be a package, or a source file of ours, whose parts then can be told apart. */
async function bundle(from, what = '{ onExit }', minify = true) {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `export ${what} from ${JSON.stringify(from)}`, resolveDir: root },
    absWorkingDir: root,
    bundle: true,
    minify,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    write: false,
    metafile: true,
    outfile: 'out.js',
    logLevel: 'error',
  })
  return { gzip: gzip(outputFiles[0].contents), metafile }
}

export async function benchmark() {
  const ours = await bundle('exodos')
  const lib = await bundle('exodos/lib')
  const peers = { 'signal-exit': await bundle('signal-exit'), 'exit-hook': await bundle('exit-hook', '{ default as onExit }') }
  const rows = []
  for (const [name, size, aim] of [
    ["import { onExit } from 'exodos'", ours.gzip, 6000],
    ["import { onExit } from 'exodos/lib'", lib.gzip],
    ["import * from 'exodos'", (await bundle('exodos', '*')).gzip],
  ]) {
    for (const [peer, { gzip: theirs }] of Object.entries(peers)) {
      rows.push({
        what: `gzip size of ${name}`,
        ours: kilobytes(size),
        peer: `${peer} ${kilobytes(theirs)}`,
        ratio: (size / theirs).toFixed(2),
        aim: aim ? `≤ ${kilobytes(aim)}` : '',
        met: aim ? (size <= aim ? 'yes' : 'no') : '',
      })
    }
  }
  const files = Object.keys(ours.metafile.inputs).filter((file) => file !== '<stdin>')
  const read = files.map((file) => readFileSync(`${root}${file}`))
  const loaded = read.reduce((sum, data) => sum + data.length, 0)
  const { metafile } = await bundle(`./packages/exodos/src/${sources.exodos}.ts`)
  const parts = Object.entries(Object.values(metafile.outputs)[0].inputs)
    .map(([file, { bytesInOutput }]) => [bytesInOutput, file.replace('packages/exodos/src/', '')])
    .filter(([bytes, file]) => bytes > 0 && file !== '<stdin>')
    .sort((a, b) => b[0] - a[0])
  const notes = [
    `node reads ${files.length} files of ${loaded.toLocaleString('en')} bytes for import { onExit } from 'exodos'`,
    'minified bytes by source file:',
    ...parts.map(([bytes, file]) => `${String(bytes).padStart(7)}  ${file}`),
  ]
  return Object.assign(rows, { notes })
}
