// `npm start`: a server that leaves in every way there is, and what of it a parent process sees; then what keeps it
// from leaving; then deaths that no handler sees, and what is left after them; then a tree of processes.
import { prepare } from './prepare.mjs'

prepare()
await import('../examples/01-server/show.mjs')
console.log()
await import('../examples/01-server/hangs.mjs')
console.log()
await import('../examples/08-survives-sigkill/show.mjs')
console.log()
await import('../examples/09-build-tool/show.mjs')
