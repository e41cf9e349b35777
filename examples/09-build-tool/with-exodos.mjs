// A build tool at work: a compiler that watches, and a server for what it has compiled. However the tool ends, first the
// server ends, when it has given its last answer; then the compiler, with all that it has started; then their directory goes.
//
//   node with-exodos.mjs
import { spawn } from 'node:child_process'
import { onExit } from 'exodos'
import { tempDir } from 'exodos/temp'
import { stopOnExit } from 'exodos/tree'
import { compiler, server, throwWhenTold } from './start.mjs'

const directory = tempDir({ prefix: 'build-tool' }).path
stopOnExit(spawn(...compiler(directory)), { name: 'compiler' })
onExit(() => console.log('build tool: the server has ended'))
stopOnExit(spawn(...server(directory)), { name: 'server' })

throwWhenTold()
console.log(`build tool: process ${process.pid}, ${directory}`)
