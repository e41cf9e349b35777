import { expect, test } from 'vitest'
import { linesOf } from './support/example.js'

test('a file goes when its page is closed, collected, or at exit', async () => {
  expect(await linesOf('05-finalizer-on-a-cache/main.mjs')).toEqual([
    'opened: closed.2 forgotten.3 held.1',
    'one closed: forgotten.3 held.1',
    'one collected: held.1',
    'still shared',
    'at exit: no files',
  ])
})
