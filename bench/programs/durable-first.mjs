// Prints what the first record of a process costs, in milliseconds: `durable-first.mjs WHAT STATE MB DESCRIPTORS`. WHAT is `ours`;
// `parts`, which watches where the time goes; or `spawn`, the least that any guardian costs: a shell that waits at a pipe.
import child_process from 'node:child_process'
import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'

const [what, state, megabytes, descriptors] = process.argv.slice(2)
const held = Array.from({ length: Number(megabytes) }, () => Buffer.alloc(2 ** 20, 1))
const open = Array.from({ length: Number(descriptors) }, () => fs.openSync('/dev/null'))

const parts = {}
function watch(part, module, names) {
  parts[part] = 0
  for (const name of names) {
    const original = module[name]
    module[name] = (...args) => {
      const began = performance.now()
      const result = original(...args)
      parts[part] += performance.now() - began
      return result
    }
  }
}
if (what === 'parts') {
  watch('spawn', child_process, ['spawn'])
  watch('descriptors', fs, ['opendirSync', 'readSync'])
  watch('executor', fs, ['writeFileSync', 'renameSync'])
  watch('directories', fs, ['mkdirSync', 'accessSync'])
  watch('other files', fs, ['readFileSync', 'openSync', 'readlinkSync', 'lstatSync', 'writeSync'])
  syncBuiltinESMExports()
}

process.env.XDG_STATE_HOME = state
let began = performance.now()
if (what === 'spawn') {
  const child = child_process.spawn('/bin/sh', ['-c', 'read -r _'], {
    cwd: '/',
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  console.log(JSON.stringify({ blocked: performance.now() - began }))
  child.kill('SIGKILL')
} else {
  const { durable } = await import('exodos/durable')
  const imported = performance.now() - began
  for (const part of Object.keys(parts)) parts[part] = 0
  began = performance.now()
  const record = durable.path(join(state, 'nothing'))
  const blocked = performance.now() - began
  const found = { ...parts }
  record.cancel()
  console.log(JSON.stringify({ imported, blocked, ...found, rss: process.memoryUsage.rss() / 2 ** 20 }))
}
for (const fd of open) fs.closeSync(fd)
held.length = 0
process.exit()
