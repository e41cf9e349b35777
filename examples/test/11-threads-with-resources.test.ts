import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

const none = ['0 of 3', '3 directories']

test('whichever way they end, threads with exodos give back what they have', { timeout: 100_000 }, async () => {
  const { code, lines, stderr } = await startExample('11-threads-with-resources/show.mjs', { timeout: 90_000 }).ended
  expect({ code, stderr }, lines.join('\n')).toEqual({ code: 0, stderr: '' })
  const rows = lines.flatMap((line) => {
    const [, way, ...columns] = /^(\S.*?) {2,}(\d of 3) +(nothing|\d directories) +(\d of 3) +(.+)$/.exec(line) ?? []
    return way ? [[way, ...columns]] : []
  })
  expect(rows).toEqual([
    ['process.exit() in each thread', '3 of 3', 'nothing', '0 of 3', 'nothing'],
    ...['worker.terminate()', 'process.exit()', 'uncaught error', 'a thread never returns', 'SIGTERM'].map((way) => [
      way,
      '3 of 3',
      'nothing',
      ...none,
    ]),
    ['SIGKILL', '0 of 3', 'nothing', ...none],
  ])
})
