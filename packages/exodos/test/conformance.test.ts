import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { all, pending } from './support/conformance.js'

const packages = new URL('../../', import.meta.url)
const sources = readdirSync(packages)
  .map((name) => new URL(`${name}/test/`, packages))
  .flatMap((dir) => readdirSync(dir).map((name) => new URL(name, dir)))
  .filter(({ pathname }) => pathname.endsWith('.test.ts') && !pathname.endsWith('/conformance.test.ts'))
  .map((file) => readFileSync(file, 'utf8'))
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
