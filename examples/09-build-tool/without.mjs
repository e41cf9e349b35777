// The same tool as such are written usually: it ends its children in 'exit', and on the signals that can be handled.
//
//   node without.mjs
//   node --import exodos/register without.mjs
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { compiler, server, throwWhenTold } from './start.mjs'

process.on('SIGINT', () => process.exit(130))
process.on('SIGTERM', () => process.exit(143))

const directory = mkdtempSync(join(tmpdir(), 'build-tool-'))
const compiling = spawn(...compiler(directory))
const serving = spawn(...server(directory))
process.on('exit', () => {
  serving.kill()
  compiling.kill()
  rmSync(directory, { recursive: true })
})

throwWhenTold()
console.log(`build tool: process ${process.pid}, ${directory}`)
