// The same modules, imported in two orders, are closed in one. A module whose wish can't be granted is told why.
//
//   node show.mjs
import { execFileSync, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const app = fileURLToPath(new URL('app.mjs', import.meta.url))
const start = (...modules) => execFileSync(process.execPath, [app, ...modules], { encoding: 'utf8' })

const one = start('server', 'cache', 'database', 'metrics', 'log')
const other = start('log', 'metrics', 'server', 'database', 'cache')
console.log(one)
console.log(one === other ? 'The same in another order of imports.\n' : `Different in another order of imports:\n${other}`)

const { stderr } = spawnSync(process.execPath, [app, 'log', 'metrics', 'database', 'cyclic'], { encoding: 'utf8' })
const refusal = stderr.split('\n').find((line) => line.startsWith('ExodosError'))
console.log(`With a module that asks for the impossible:\n${refusal}`)
