import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

const all = 'compiler, directory, its own, server, shell'

/** In the order of the alphabet: that of /proc isn't theirs. */
const sorted = (names: string) => names.split(', ').sort().join(', ')

test('however it ends, the build tool with exodos ends its children in order and leaves nothing', {
  timeout: 100_000,
}, async () => {
  const { code, lines, stderr } = await startExample('09-build-tool/show.mjs', { timeout: 90_000 }).ended
  expect({ code, stderr }, lines.join('\n')).toEqual({ code: 0, stderr: '' })
  const rows = lines.flatMap((line) => {
    const [, tool, answer, signals, left] =
      /(exodos\/\w+|without) +(\S+) +(SIG\w+(?:, SIG\w+)*)? +(?:\d+ +)?(.+)$/.exec(line) ?? []
    return tool && left ? [[tool, answer, signals, sorted(left)]] : []
  })
  const plain = 'compiler, its own'
  expect(rows).toEqual([
    ['exodos/tree', 'whole', 'SIGINT', 'nothing'],
    ['exodos/register', 'whole', 'SIGINT', 'nothing'],
    ['without', 'ENOENT', 'SIGINT, SIGTERM', 'nothing'],
    ...[plain, plain].flatMap((left) => [
      ['exodos/tree', 'whole', 'SIGTERM', 'nothing'],
      ['exodos/register', 'whole', 'SIGTERM', 'nothing'],
      ['without', 'ENOENT', 'SIGTERM', left],
    ]),
    ['exodos/tree', 'whole', 'SIGTERM', 'nothing'],
    ['exodos/register', 'whole', 'SIGTERM', 'directory'],
    ['without', 'whole', undefined, all],
  ])
})
