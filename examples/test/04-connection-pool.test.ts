import { expect, test } from 'vitest'
import { linesOf } from './support/example.js'

test('connections are closed at the same time; one that was closed early is not closed again', async () => {
  const lines = await linesOf('04-connection-pool/main.mjs')
  expect(lines.slice(0, 2)).toEqual(['release, one after another', '  1. pool (scope, all at once)'])
  const [, took] = /^10 connections of pool: (\d+) ms, in a row 1000 ms$/.exec(lines.at(-1) ?? '') ?? []
  expect(Number(took)).toBeLessThan(500)
})
