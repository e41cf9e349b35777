import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { node, run } from './support/program.js'
import { makeProject, suites } from './support/suites.js'

const vitest = fileURLToPath(new URL('../../../node_modules/vitest/vitest.mjs', import.meta.url))

const setups: Record<string, object> = {
  forks: { pool: 'forks' },
  'forks, not isolated': { pool: 'forks', isolate: false },
  threads: { pool: 'threads' },
  'threads, not isolated': { pool: 'threads', isolate: false },
  'exodos transformed by Vite': { pool: 'forks', isolate: false, server: { deps: { inline: ['exodos'] } } },
}
const configFile = (name: string) => `${name.replaceAll(/\W+/g, '-')}.config.mjs`
const config = (setup: object) => `export default ${JSON.stringify({ test: { globals: true, maxWorkers: 1, ...setup } })}`

let project: ReturnType<typeof makeProject>
beforeAll(() => {
  project = makeProject({
    ...Object.fromEntries(Object.entries(setups).map(([name, setup]) => [configFile(name), config(setup)])),
    ...suites('vi', ''),
    'left-over.test.js': `
      import { onExit } from 'exodos'
      test('leaves hooks behind', () => {
        onExit(() => {}, { name: 'sync' })
        onExit(async () => {}, { name: 'async' })
      })`,
  })
})
afterAll(() => project.remove())

describe.each(Object.keys(setups))("a consumer's suites in Vitest: %s", (setup) => {
  test.each([['listeners', 'spies', 'timers-after'], ['timers-before'], ['left-over']])('%s', async (...files) => {
    const options = ['run', '--root', project.dir, '--config', configFile(setup), '--reporter=default']
    const ended = await run('', {
      timeout: 25_000,
      env: { EXODOS_REPORT: undefined, VITEST: undefined, VITEST_POOL_ID: undefined, VITEST_WORKER_ID: undefined },
      command: () => [node, vitest, ...options, ...files],
    })
    // A summary of exodos is about a hook that hangs on purpose.
    const output = (ended.stdout + ended.stderr).replaceAll(/^exodos: explicit: .*\n {2}overdue .* hanging\n/gm, '')
    expect(output).toMatch(/^ +Tests +\d+ passed \(\d+\)$/m)
    expect(ended).toMatchObject({ code: 0, signal: null })
    expect(output).not.toMatch(/exodos:|ExodosWarning|Unhandled|did not exit|close timed out/)
  })
})
