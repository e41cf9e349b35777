// Prints how many records are written down and cancelled in a second, beside LIVE others: `durable-records.mjs LIVE DIRECTORY`. The
// bare one is the least that any journal has to do. All take turns.
import fs, { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { durable } from 'exodos/durable'
import { tempDir } from 'exodos/temp'

const [live, state] = process.argv.slice(2)
const BATCHES = 15
const BATCH = 2000

const parent = join(state, 'parent')
mkdirSync(parent, { recursive: true, mode: 0o700 })
durable.configure({ stateDir: join(state, 'state') })
const path = join(parent, 'a-name-of-usual-length-3fXz81Qw')
const argv = ['/bin/true', 'an argument']
const cwd = parent

const fd = openSync(join(parent, 'journal'), 'w')
const line = { id: 123456, at: Date.now(), do: { kind: 'path', path, tree: false } }
let offset = 0
const pairs = {
  path: () => durable.path(path).cancel(),
  command: () => durable.command(argv, { cwd }).cancel(),
  // The record alone.
  temp: () => tempDir({ parent }).keep(),
  bare: () => {
    const data = Buffer.from(`${JSON.stringify(line)}\n`)
    writeSync(fd, data, 0, data.length, offset)
    writeSync(fd, '#', offset)
    offset += data.length
  },
}

const others = Array.from({ length: Number(live) }, (_, i) => durable.command(argv, { cwd, name: `other ${i}` }))
// From here on a temporary directory isn't made.
durable.status()
fs.mkdirSync = () => {}
syncBuiltinESMExports()

const samples = Object.fromEntries(Object.keys(pairs).map((name) => [name, []]))
for (let n = -5; n < BATCHES; n++) {
  offset = 0
  for (const [name, pair] of Object.entries(pairs)) {
    const begin = process.hrtime.bigint()
    for (let i = 0; i < BATCH; i++) pair()
    if (n >= 0) samples[name].push((BATCH * 1e9) / Number(process.hrtime.bigint() - begin))
  }
}
for (const other of others) other.cancel()
closeSync(fd)
rmSync(parent, { recursive: true })
const middle = (values) => values.sort((a, b) => a - b)[(BATCHES - 1) / 2]
console.log(JSON.stringify(Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, middle(values)]))))
