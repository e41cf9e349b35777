// Prints the microseconds that a temporary directory takes, made and removed, batch by batch: `durable-temp.mjs PLACE STATE [PEER]`.
// All take turns in one process, as a disk is faster in one second than in the next.
import { mkdtempSync, rmdirSync, rmSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'

const [place, state, peer] = process.argv.slice(2)
const BATCHES = 40
const BATCH = 50

process.env.XDG_STATE_HOME = state
const parent = mkdtempSync(join(place, 'exodos-bench-'))
process.on('exit', () => rmSync(parent, { recursive: true, force: true }))

const { tempDir } = await import('exodos/temp')
const prefix = join(parent, 'name-')
const pairs = {
  ours: () => tempDir({ parent }).removeSync(),
  bare: () => rmSync(mkdtempSync(prefix), { recursive: true, force: true }),
  barest: () => rmdirSync(mkdtempSync(prefix)),
  oursAsync: () => tempDir({ parent }).remove(),
  bareAsync: async () => rm(await mkdtemp(prefix), { recursive: true, force: true }),
}
if (peer === 'tmp') {
  const { default: tmp } = await import('tmp')
  tmp.setGracefulCleanup()
  pairs.tmp = () => tmp.dirSync({ tmpdir: parent }).removeCallback()
  pairs.tmpAsync = () =>
    new Promise((resolve, reject) => {
      tmp.dir({ tmpdir: parent }, (error, _, remove) => (error ? reject(error) : remove(resolve)))
    })
}
// As in a program that has another one: the last to go may cost more.
tempDir({ parent })

const samples = Object.fromEntries(Object.keys(pairs).map((name) => [name, []]))
for (let n = -10; n < BATCHES; n++) {
  for (const [name, pair] of Object.entries(pairs)) {
    const begin = performance.now()
    for (let i = 0; i < BATCH; i++) {
      const promise = pair()
      if (promise) await promise
    }
    if (n >= 0) samples[name].push(((performance.now() - begin) * 1000) / BATCH)
  }
}
const middle = (values) => values.sort((a, b) => a - b)[BATCHES >> 1]
console.log(JSON.stringify(Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, middle(values)]))))
