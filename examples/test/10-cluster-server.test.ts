import { expect, test } from 'vitest'
import { linesOf, startExample } from './support/example.js'

test('workers are replaced one by one, and all of them end, without a lost request', { timeout: 60_000 }, async () => {
  const lines = await linesOf('10-cluster-server/show.mjs')
  expect(lines.slice(2)).toEqual([
    expect.stringMatching(/^SIGHUP: one by one +[1-9]\d* +0 {3}2 of 2$/),
    expect.stringMatching(/^SIGTERM +[1-9]\d* +0 {3}2 of 2$/),
    'It ended with SIGTERM',
  ])
})

test('a worker that crashes is replaced', { timeout: 60_000 }, async () => {
  const server = startExample('10-cluster-server/server.mjs', { env: { PORT: '0' }, timeout: 50_000 })
  await server.until('listening on')
  process.kill(Number(/worker 1 listens, PID (\d+)/.exec(server.printed())?.[1]), 'SIGKILL')
  await server.until('worker 3 listens')
  server.kill('SIGTERM')
  const { lines, ...ended } = await server.ended
  expect(ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
  expect(lines).toContainEqual('worker 1 has crashed (SIGKILL)')
  expect(lines.filter((line) => line.endsWith('has closed its database'))).toHaveLength(2)
})
