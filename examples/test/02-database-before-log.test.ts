import { expect, test } from 'vitest'
import { linesOf } from './support/example.js'

test('the log is closed after the database, though it was opened later', async () => {
  expect(await linesOf('02-database-before-log/main.mjs')).toEqual(['started', 'database: writing 2 rows', 'database: closed'])
})

test('newest first alone would lose its last lines', async () => {
  expect(await linesOf('02-database-before-log/main.mjs', '--newest-first')).toEqual([
    'lost, the log is closed: database: writing 2 rows',
    'lost, the log is closed: database: closed',
    'started',
  ])
})
