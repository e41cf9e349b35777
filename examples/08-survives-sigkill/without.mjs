// The same converter as programs are written usually: it cleans up in 'exit', and on the signals that can be handled.
//
//   node without.mjs DIRECTORY
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { readyToDie } from './ready-to-die.mjs'

const at = process.argv[2]
const lock = join(at, 'converter.lock')
writeFileSync(lock, String(process.pid), { flag: 'wx' })
process.on('exit', () => rmSync(lock))
process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))

const unfinished = mkdtempSync(join(at, 'unfinished-'))
process.on('exit', () => rmSync(unfinished, { recursive: true }))
for (let n = 0; n < 100; n++) writeFileSync(join(unfinished, `${n}.part`), 'x'.repeat(1000))

const child = spawn('sleep', ['600'], { stdio: 'ignore' })
process.on('exit', () => child.kill())

const path = join(at, 'converter.sock')
process.on('exit', () => rmSync(path, { force: true }))
createServer((client) => client.end('half of it\n')).listen(path, () => {
  readyToDie({ directory: unfinished, child: child.pid })
})
