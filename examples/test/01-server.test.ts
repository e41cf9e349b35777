import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { node } from '../../packages/exodos/test/support/program.js'

const show = fileURLToPath(new URL('../01-server/show.mjs', import.meta.url))

test('the server leaves well by every way out', { timeout: 90_000 }, async () => {
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(node, [show], (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }))
  })
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  const rows = stdout.split('\n').map((row) => row.slice(0, 48).trimEnd())
  expect(rows).toEqual(
    expect.arrayContaining([
      'natural end      6/6   stored  clean    0',
      'process.exit(3)  6/6   stored  clean    3',
      'uncaught error   6/6   stored  clean    1',
      'rejection        6/6   stored  clean    1',
      'SIGINT           6/6   stored  clean    SIGINT',
      'SIGTERM          6/6   stored  clean    SIGTERM',
      'SIGHUP           6/6   stored  clean    SIGHUP',
      'two SIGINTs      5/5   stored  clean    SIGINT',
      'a cleanup fails  5/5   stored  clean    SIGTERM',
      'a cleanup hangs  5/5   stored  clean    SIGTERM',
      'a library exits  6/6   stored  clean    SIGTERM',
      '1 MiB to print   6/6   stored  clean    0',
    ]),
  )
})
