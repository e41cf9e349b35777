// Runs the black-box tests with programs on each Node version: `npm run test:matrix [-- 22 24]`.
import { execFileSync, spawnSync } from 'node:child_process'
import { installNodes } from './nodes.mjs'
import { prepare } from './prepare.mjs'

const wanted = process.argv.slice(2)
const tests = [
  'statements',
  'exits',
  'exit-request',
  'peers',
  'bundles',
  'copies',
  'run',
  'run-load',
  'run-terminal',
  'command-line',
  'register',
  'stuck',
  'rescue',
].map((name) => `packages/exodos/test/${name}.test.ts`)

prepare()
const failed = []
for (const [major, binary] of installNodes(wanted.length > 0 ? wanted : undefined)) {
  console.log(`\nNode ${execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim()}`)
  const { status } = spawnSync('npx', ['vitest', 'run', '--reporter=dot', ...tests], {
    stdio: 'inherit',
    env: { ...process.env, EXODOS_TEST_NODE: binary, EXODOS_TEST_NODE_MAJOR: major },
  })
  if (status !== 0) failed.push(major)
}
if (failed.length > 0) {
  console.error(`\nfailed on Node ${failed.join(', ')}`)
  process.exit(1)
}
