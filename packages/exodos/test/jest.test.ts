import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Ended, node, run } from './support/program.js'
import { makeProject, suites } from './support/suites.js'

const jest = join(dirname(createRequire(import.meta.url).resolve('jest/package.json')), 'bin/jest.js')
const imports = "import { afterEach, expect, jest, test } from '@jest/globals'\n"

let project: ReturnType<typeof makeProject>
beforeAll(() => {
  project = makeProject({
    'jest.config.js': "export default { testEnvironment: 'node', transform: {}, reporters: ['default'] }",
    ...suites('jest', imports),
    // Jest runs files in the order of their size, the largest first.
    'leak/first.test.js': `${imports}
      import { appendFileSync } from 'node:fs'
      import { onExit } from 'exodos'
      import { register, ncallbacks } from 'exodos/atexit'
      // ${'-'.repeat(2000)}
      test('leaves hooks behind', () => {
        globalThis.first = true
        onExit(() => appendFileSync(process.env.HOOKS_OF_FIRST, 'on exit\\n'), { name: 'left over' })
        register(() => appendFileSync(process.env.HOOKS_OF_FIRST, 'atexit\\n'))
        expect(ncallbacks()).toBe(1)
        appendFileSync(process.env.HOOKS_OF_FIRST, 'first\\n')
      })`,
    'leak/second.test.js': `${imports}
      import { appendFileSync, readFileSync } from 'node:fs'
      import { configure, exiting, onExit, runExitHooks } from 'exodos'
      import { ncallbacks } from 'exodos/atexit'
      test('starts with an empty registry', async () => {
        expect(readFileSync(process.env.HOOKS_OF_FIRST, 'utf8')).toBe('first\\n')
        expect(ncallbacks()).toBe(0)
        expect(exiting.aborted).toBe(false)
        expect((await runExitHooks()).hooks).toEqual([])
        const calls = []
        onExit(() => { calls.push('second') }, { name: 'second' })
        const report = await runExitHooks()
        expect(report.hooks.map((hook) => hook.name)).toEqual(['second'])
        expect(calls).toEqual(['second'])
        configure({ grace: '3s' })
        expect(readFileSync(process.env.HOOKS_OF_FIRST, 'utf8')).toBe('first\\n')
        appendFileSync(process.env.HOOKS_OF_FIRST, 'second\\n')
      })`,
    'leak/third.test.js': `${imports}
      import { configure } from 'exodos'
      test('may configure as if alone', () => configure({ grace: '4s' }))`,
  })
})
afterAll(() => project.remove())

const runJest = (files: string, args: string[] = [], env: Record<string, string> = {}): Promise<Ended> =>
  run('', {
    timeout: 25_000,
    env: { NODE_OPTIONS: '--experimental-vm-modules --no-warnings', EXODOS_REPORT: undefined, ...env },
    command: () => [node, jest, '--rootDir', project.dir, '--no-cache', '--ci', ...args, files],
  })

/** A summary of exodos is about a hook that hangs on purpose. */
function expectPassed(ended: Ended): void {
  const output = (ended.stderr + ended.stdout).replace(/^exodos: explicit: .*\n {2}overdue .* hanging\n/gm, '')
  expect(output).toMatch(/^Tests: +\d+ passed, \d+ total$/m)
  expect(ended).toMatchObject({ code: 0, signal: null })
  expect(output).not.toMatch(/exodos:|ExodosWarning|did not exit|open handle/)
}

describe.each([
  ['in band', ['--runInBand']],
  ['in two workers', ['--maxWorkers=2']],
])("a consumer's suites in Jest, %s", (_, args) => {
  test.each(['listeners', 'spies', 'timers-before', 'timers-after'])('%s', async (name) => {
    expectPassed(await runJest(`${name}\\.test\\.js`, args))
  })

  test('all together', async () => {
    expectPassed(await runJest('(listeners|timers-.*)\\.test\\.js', args))
  })
})

test('hooks and policy of one test file are none of the next, and run when the process leaves', async () => {
  const log = join(project.dir, 'leak.log')
  const ended = await runJest('leak/', ['--runInBand'], { HOOKS_OF_FIRST: log })
  expectPassed(ended)
  expect(readFileSync(log, 'utf8').split('\n').filter(Boolean).sort()).toEqual(['atexit', 'first', 'on exit', 'second'])
})
