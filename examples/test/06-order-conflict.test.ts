import { expect, test } from 'vitest'
import { linesOf, startExample } from './support/example.js'

const app = '06-order-conflict/app.mjs'
const plan = [
  'drain, all at once',
  '  - server',
  'release, one after another',
  '  1. cache',
  '  2. database (after cache)',
  '  3. metrics (after database)',
  '  4. log (after database; after metrics)',
]
const closed = ['server closed', 'cache closed', 'database closed', 'metrics closed', 'log closed']

test.each([
  ['server', 'cache', 'database', 'metrics', 'log'],
  ['log', 'metrics', 'server', 'database', 'cache'],
  ['metrics', 'log', 'cache', 'server', 'database'],
  ['database', 'log', 'cache', 'metrics', 'server'],
])('the modules are closed in the same order when imported as %s, %s, %s, %s, %s', async (...modules) => {
  expect(await linesOf(app, ...modules)).toEqual([...plan, ...closed])
})

test('a cycle is refused where it is closed, and named', async () => {
  const { code, lines, stderr } = await startExample(app, { args: ['log', 'metrics', 'database', 'cyclic'] }).ended
  expect(stderr).toContain('expected an order without a cycle, got cache → after log → after database → after cache')
  expect(stderr).toMatch(/06-order-conflict\/cyclic\.mjs:\d+/)
  expect({ code, lines }).toEqual({ code: 1, lines: closed.filter((line) => !/cache|server/.test(line)) })
})

test('the show says all of it', async () => {
  const lines = await linesOf('06-order-conflict/show.mjs')
  expect(lines).toEqual([
    ...plan,
    ...closed,
    'The same in another order of imports.',
    'With a module that asks for the impossible:',
    'ExodosError: options.after: expected an order without a cycle, got cache → after log → after database → after cache',
  ])
})
