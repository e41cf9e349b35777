// Prints the microseconds that a lock takes, acquired and released: `durable-lock.mjs DIRECTORY STATE [PEER]`. All take turns.
import { closeSync, mkdtempSync, openSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [place, state, peer] = process.argv.slice(2)
const BATCHES = 40
const BATCH = 50

process.env.XDG_STATE_HOME = state
const directory = mkdtempSync(join(place, 'exodos-bench-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

const { lockFile } = await import('exodos/lock')
const path = join(directory, 'a.lock')
const pairs = {
  ours: async () => (await lockFile(path)).release(),
  bare: () => {
    closeSync(openSync(path, 'wx'))
    unlinkSync(path)
  },
}
if (peer === 'proper-lockfile') {
  const { default: lockfile } = await import('proper-lockfile')
  const file = join(directory, 'file')
  writeFileSync(file, '')
  pairs.peer = async () => (await lockfile.lock(file))()
}
// As in a program that has another one.
await lockFile(join(directory, 'another.lock'))

const samples = Object.fromEntries(Object.keys(pairs).map((name) => [name, []]))
for (let n = -10; n < BATCHES; n++) {
  for (const [name, pair] of Object.entries(pairs)) {
    const begin = performance.now()
    for (let i = 0; i < BATCH; i++) await pair()
    if (n >= 0) samples[name].push(((performance.now() - begin) * 1000) / BATCH)
  }
}
const middle = (values) => values.sort((a, b) => a - b)[BATCHES >> 1]
console.log(JSON.stringify(Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, middle(values)]))))
process.exit()
