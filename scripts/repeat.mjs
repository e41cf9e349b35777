// Runs the exit table again and again, several at a time: `npm run test:repeat [-- times at-a-time]`. A failure is a bug.
import { spawn } from 'node:child_process'
import { prepare } from './prepare.mjs'

const [times = 20, atATime = 4] = process.argv.slice(2).map(Number)
const tests = ['statements', 'exits'].map((name) => `packages/exodos/test/${name}.test.ts`)
let started = 0
let failed = 0

const once = (number) =>
  new Promise((resolve) => {
    const child = spawn('npx', ['vitest', 'run', '--reporter=dot', ...tests], { stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => (output += data))
    child.once('close', (code) => {
      console.log(`run ${number}: ${code === 0 ? 'passed' : `failed\n${output}`}`)
      if (code !== 0) failed++
      resolve()
    })
  })
const lane = async () => {
  while (started < times) await once(++started)
}

prepare()
await Promise.all(Array.from({ length: atATime }, lane))
console.log(`${times - failed} passed, ${failed} failed`)
process.exit(failed > 0 ? 1 : 0)
