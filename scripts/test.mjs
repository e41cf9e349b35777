// `npm test`: installs and builds what is missing, then runs all tests on this Node.
import { spawnSync } from 'node:child_process'
import { prepare } from './prepare.mjs'

prepare()
const { status } = spawnSync('npx', ['vitest', 'run', ...process.argv.slice(2)], { stdio: 'inherit' })
process.exit(status ?? 1)
