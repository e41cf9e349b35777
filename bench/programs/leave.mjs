// Leaves a moment after its start, as told: `leave.mjs sync|async:MS auto|always|never`.
import { configure, onExit } from 'exodos'

const [hook, watchdog] = process.argv.slice(2)
const ms = Number(hook.split(':')[1])
configure({ watchdog })
onExit(Number.isNaN(ms) ? () => {} : () => new Promise((resolve) => setTimeout(resolve, ms)))
process.exit(0)
