import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

const all = 'directory, lock, child, socket'

test('whichever way it dies, the program with exodos leaves nothing, and the other one all', { timeout: 100_000 }, async () => {
  const state = mkdtempSync(join(tmpdir(), 'exodos-survives-'))
  try {
    const options = { timeout: 90_000, env: { EXODOS_STATE_DIR: state } }
    const { code, lines, stderr } = await startExample('08-survives-sigkill/show.mjs', options).ended
    expect({ code, stderr }, lines.join('\n')).toEqual({ code: 0, stderr: '' })
    const rows = lines.flatMap((line) => {
      const [, way, left, other] = /^(.+?) {2,}(\S+) +\d+ {4}(.+)$/.exec(line) ?? []
      return way ? [[way.trim(), left, other]] : []
    })
    expect(rows).toEqual([
      ...['SIGKILL', 'heap out of memory', 'process.abort()', 'SIGSEGV'].map((way) => [way, 'nothing', all]),
      ['and the next start', 'nothing', `${all}; it refuses to start`],
    ])
  } finally {
    rmSync(state, { recursive: true, force: true })
  }
})
