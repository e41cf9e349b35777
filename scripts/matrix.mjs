// Runs the black-box tests with programs on each Node version: `npm run test:matrix [-- 22 24]`.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { installNodes } from './nodes.mjs'
import { prepare } from './prepare.mjs'

const wanted = process.argv.slice(2)
/** What depends on the file system, or on clients of databases, rather than on Node is left to `npm test`. */
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
  'scopes',
  'finalizers',
  'durable',
  'durable-edges',
  'durable-limits',
  'lock',
  'children',
  'threads',
  'cluster',
].map((name) => `packages/exodos/test/${name}.test.ts`)
tests.push('packages/web/test', ...['deaths', 'statements'].map((name) => `packages/pool/test/${name}.test.ts`))

/** The failures of a run in its JSON report: named once more at the end, where whoever reads a cut log finds them. */
const failuresIn = (report) => {
  try {
    const { testResults } = JSON.parse(readFileSync(report, 'utf8'))
    return testResults
      .flatMap(({ message, assertionResults }) => [{ status: message && 'failed', fullName: message }, ...assertionResults])
      .filter(({ status }) => status === 'failed')
      .map(({ fullName, failureMessages = [] }) => `${fullName}\n${failureMessages.join('\n')}`)
  } catch (error) {
    return [`no report of the tests: ${error.message}`]
  }
}

prepare()
const dir = mkdtempSync(join(tmpdir(), 'exodos-matrix-'))
const failed = []
for (const [major, binary] of installNodes(wanted.length > 0 ? wanted : undefined)) {
  console.log(`\nNode ${execFileSync(binary, ['--version'], { encoding: 'utf8' }).trim()}`)
  const report = join(dir, `${major}.json`)
  const { status } = spawnSync(
    'npx',
    ['vitest', 'run', '--reporter=dot', '--reporter=json', `--outputFile.json=${report}`, ...tests],
    { stdio: 'inherit', env: { ...process.env, EXODOS_TEST_NODE: binary, EXODOS_TEST_NODE_MAJOR: major } },
  )
  if (status !== 0) failed.push(...failuresIn(report).map((failure) => `Node ${major}: ${failure}`))
}
rmSync(dir, { recursive: true, force: true })
if (failed.length > 0) {
  console.error(`\n${failed.length} failed\n${failed.join('\n')}`)
  process.exit(1)
}
