// A converter at work: it has a lock, a directory for what isn't finished, a child process, and a socket that tells how far
// it is. Whichever way it dies, nothing of that is left.
//
//   node with-exodos.mjs DIRECTORY
import { spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { durable } from 'exodos/durable'
import { lockFile } from 'exodos/lock'
import { tempDir } from 'exodos/temp'
import { readyToDie } from './ready-to-die.mjs'

const at = process.argv[2]
// Only where the guardian was killed as well there is something to do here; else it has been done long since.
await durable.recover()
await lockFile(join(at, 'converter.lock'))
const unfinished = tempDir({ parent: at, prefix: 'unfinished' })
for (let n = 0; n < 100; n++) writeFileSync(join(unfinished.path, `${n}.part`), 'x'.repeat(1000))

const child = spawn('sleep', ['600'], { stdio: 'ignore' })
durable.process(child)

const path = join(at, 'converter.sock')
const socket = durable.socket(path)
createServer((client) => client.end('half of it\n')).listen(path, () => {
  socket.made()
  readyToDie({ directory: unfinished.path, child: child.pid })
})
