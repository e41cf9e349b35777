import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

test('whichever way they end, threads of a pool close their catalogues and remove their directories', {
  timeout: 190_000,
}, async () => {
  const { code, lines, stderr } = await startExample('12-image-thumbnails/show.mjs', { timeout: 180_000 }).ended
  expect({ code, stderr }, lines.join('\n')).toEqual({ code: 0, stderr: '' })
  const rows = lines.flatMap((line) => {
    const [, way, ...columns] = /^(.+?) {2,}(\d open|closed) +(nothing|\d directories) +(\d open|closed) +(.+)$/.exec(line) ?? []
    return way ? [[way, ...columns]] : []
  })
  const all = ['2 open', '2 directories']
  const ways = ['end of the work', 'process.exit()', 'uncaught error', 'a task never returns', 'SIGTERM']
  expect(rows).toEqual([...ways.map((way) => [way, 'closed', 'nothing', ...all]), ['SIGKILL', '2 open', 'nothing', ...all]])
})

test('six thumbnails are made, in order, and are in the catalogues', { timeout: 70_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'exodos-thumbnails-'))
  try {
    const options = { args: [directory], timeout: 60_000 }
    const { code, lines, stderr } = await startExample('12-image-thumbnails/with-exodos.mjs', options).ended
    expect({ code, last: stderr.split('\n').at(-2) }, stderr).toEqual({ code: 0, last: '6 of 6' })
    const names = Array.from({ length: 6 }, (_, i) => `rings-0${i + 1}.jpg`)
    expect(lines.slice(1).map((line) => line.split(' ')[0])).toEqual(names)
    const files = readdirSync(join(directory, 'thumbnails')).sort()
    expect(files).toEqual(['catalogue-1.txt', 'catalogue-2.txt', ...names])
    const catalogues = files.slice(0, 2).map((file) => readFileSync(join(directory, 'thumbnails', file), 'utf8'))
    expect(catalogues.flatMap((text) => text.match(/rings-0\d.jpg 48 × 36/g) ?? [])).toHaveLength(6)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
})
