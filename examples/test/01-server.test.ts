import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { node } from '../../packages/exodos/test/support/program.js'

/** Runs one of the example's programs, and takes some columns of the table that it prints. */
async function table(name: string, columns: [from: number, to: number]): Promise<string[]> {
  const file = fileURLToPath(new URL(`../01-server/${name}`, import.meta.url))
  const { code, stdout, stderr } = await new Promise<{ code: unknown; stdout: string; stderr: string }>((resolve) => {
    execFile(node, [file], (error, stdout, stderr) => resolve({ code: error ? error.code : 0, stdout, stderr }))
  })
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  return stdout.split('\n').map((row) => row.slice(...columns).trimEnd())
}

test.concurrent('the server leaves well by every way out', { timeout: 90_000 }, async () => {
  expect(await table('show.mjs', [0, 48])).toEqual(
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

test.concurrent('what hangs is named, and freed or killed', { timeout: 90_000 }, async () => {
  const rows = await table('hangs.mjs', [0, 69])
  expect(rows.map((row) => row.replace(/mjs:\d+ */, 'mjs '))).toEqual(
    expect.arrayContaining([
      'a handler spins     ways-out.mjs freed   6/6   stored  SIGTERM',
      'a cleanup spins     ways-out.mjs killed  4/6   stored  SIGKILL',
      'a cleanup hangs     deregister         ended   5/5   stored  SIGTERM',
      "spin inside 'exit'  ways-out.mjs killed  6/6   stored  SIGKILL",
      expect.stringMatching(/^SIGTERM as PID 1 {4}(– +ended {3}6\/6 {3}stored {2}143|not permitted here)$/),
    ]),
  )
})
