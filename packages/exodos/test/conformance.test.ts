import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { all, pending } from './support/conformance.js'

const sources = readdirSync(new URL('.', import.meta.url))
  .filter((name) => name.endsWith('.test.ts') && name !== 'conformance.test.ts')
  .map((name) => readFileSync(new URL(name, import.meta.url), 'utf8'))
  .join('\n')

/** A number counts as tested when a name begins with it: `test('C1 …'`, `row: 'E1 …'`, or a list of numbers `'E20',`. */
const isTested = (number: string) => new RegExp(`[\`'"]${number}(?: |[\`'"],)|${number}: \\(`).test(sources)

test('every statement and exit row that is not pending has a test', () => {
  const waiting = Object.values(pending).flat()
  expect(all.filter((number) => !waiting.includes(number) && !isTested(number))).toEqual([])
})

test('what is pending is on the list of all rows', () => {
  expect(
    Object.values(pending)
      .flat()
      .filter((number) => !all.includes(number)),
  ).toEqual([])
})
