import { expect, test } from 'vitest'
import { prelude, run, runAndKill } from './support/program.js'

test('smoke', async () => {
  const ended = await run(`${prelude} onExit(async () => { await sleep(5); say('a') }); process.exit(3)`)
  expect(ended).toMatchObject({ code: 3, lines: ['a'] })
  expect(ended.report?.exit).toEqual({ code: 3 })
  const killed = await runAndKill(`${prelude} onExit(async () => { await sleep(5); say('a') }); hold(); say('ready')`, 'SIGTERM')
  expect(killed).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'a'] })
})
