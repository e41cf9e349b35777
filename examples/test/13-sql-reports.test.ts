import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

const locked = expect.stringMatching(/^\d (copy|copies): database is locked$/)

test('whichever way they end, processes of a pool leave no lock behind', { timeout: 190_000 }, async () => {
  const { code, lines, stderr } = await startExample('13-sql-reports/show.mjs', { timeout: 180_000 }).ended
  expect({ code, stderr }, lines.join('\n')).toEqual({ code: 0, stderr: '' })
  const rows = lines.slice(2).map((line) => line.split(/ {2,}/))
  expect(rows).toEqual([
    ['end of the work', 'nothing', 'nothing'],
    ['process.exit()', 'nothing', 'nothing'],
    ['uncaught error', 'nothing', 'nothing'],
    ['a report that never ends', 'nothing', locked],
    ['a process is killed', 'nothing', locked],
    ['SIGTERM', 'nothing', 'nothing'],
    ['SIGKILL', 'nothing', 'nothing'],
  ])
})
