import type { EngineName } from '@exodos/pool'
import { describe, expect, test } from 'vitest'
import { nodeMajor, run } from '../../exodos/test/support/program.js'
import { engines, fixture, mortal } from './support/pools.js'

interface Program {
  claim: string
  body: string
  lines: string[]
  nodeOptions?: string[]
  files?: Record<string, string>
}

const typed = `import { defineWorker } from '@exodos/pool/worker'
type Pair = readonly [number, number]
export default defineWorker({ tasks: { add: ([a, b]: Pair): number => a + b } })`
const typedMain = (engine: EngineName) => ({
  files: { 'typed.ts': typed },
  body: `await using(createPool(new URL('./typed.ts', import.meta.url), { engine: '${engine}', size: 1 }))`,
  lines: ['3'],
})

const bundled = (format: 'esm' | 'cjs', engine: EngineName): Program => ({
  claim: `an application that is bundled, workers and all: ${format}, ${engine}`,
  files: {
    'main.src.js': `import { createPool } from '@exodos/pool'
      import { pathToFileURL } from 'node:url'
      const here = ${format === 'esm' ? 'import.meta.url' : 'pathToFileURL(__filename)'}
      const pool = createPool(new URL('./worker.${format === 'esm' ? 'mjs' : 'cjs'}', here), { engine: '${engine}', size: 1 })
      pool.run('add', [1, 2]).then(console.log)`,
    'worker.src.js': `import { defineWorker } from '@exodos/pool/worker'
      export default defineWorker({
        init: ({ receipt }) => receipt.path('/tmp/there-is-no-such-directory/a'),
        tasks: { add: ([a, b]) => a + b },
        dispose: () => console.log('disposed'),
      })`,
  },
  body: `const { build } = await import('esbuild')
    const ext = { '.js': '${format === 'esm' ? '.mjs' : '.cjs'}' }
    await build({
      entryPoints: { 'out/main': 'main.src.js', 'out/worker': 'worker.src.js' }, outdir: '.', outExtension: ext,
      bundle: true, platform: 'node', format: '${format}', logLevel: 'error',
    })
    const { execFileSync } = await import('node:child_process')
    execFileSync(process.execPath, ['out/main' + ext['.js']], { stdio: 'inherit' })`,
  lines: ['3', 'disposed'],
})

const programs: Program[] = [
  ...engines.flatMap((engine): Program[] => [
    {
      claim: `a pool with nothing to do doesn’t keep the program running: ${engine}`,
      body: `const pool = createPool(file, { engine: '${engine}', size: 2, data: { says: true } })
        await pool.ready
        console.log(await pool.run('add', [1, 2]))`,
      lines: ['3', 'dispose 1 close', 'dispose 2 close'],
    },
    {
      claim: `what is awaited at the top is waited for: ${engine}`,
      body: `const pool = createPool(file, { engine: '${engine}', size: 2, maxQueue: 2 })
        await pool.ready
        console.log(await pool.run('later', { ms: 50, value: 1 }))
        console.log(await pool.map('echo', [2, 3]).toArray())
        await pool.room()
        console.log(await pool.broadcast('echo', 4))
        await pool.close()
        console.log('closed')`,
      lines: ['1', '[ 2, 3 ]', '[ 4, 4 ]', 'closed'],
    },
    {
      claim: `no task is awaited, and still all are done: ${engine}`,
      body: `const pool = createPool(file, { engine: '${engine}', size: 1, data: { says: true } })
        for (const value of [1, 2, 3]) pool.run('later', { ms: 5, value }).then(console.log)`,
      lines: ['1', '2', '3', 'dispose 1 close'],
    },
  ]),
  ...mortal.flatMap((engine): Program[] => [
    {
      claim: `stdio: inherit prints, ignore doesn’t: ${engine}`,
      body: `for (const stdio of ['inherit', 'ignore']) {
          const pool = createPool(file, { engine: '${engine}', size: 1, stdio })
          await pool.run('print', { out: stdio + '\\n' })
          await pool.close()
        }`,
      lines: ['inherit'],
    },
    ...mortal.map((inner) => ({
      claim: `a pool in the worker of a pool: ${inner} in ${engine}`,
      body: `const pool = createPool(new URL('${fixture('nested.mjs')}'), { engine: '${engine}', size: 1, data: { inner: '${inner}' } })
        console.log(await pool.run('add', [1, 2]))`,
      lines: ['3', 'dispose 1 close'],
    })),
    // tsx 4 doesn't load TypeScript in the threads of Node 20.
    ...(nodeMajor >= 22 || engine === 'processes'
      ? [{ claim: `a worker in TypeScript, by a loader: ${engine}`, nodeOptions: ['--import', 'tsx'], ...typedMain(engine) }]
      : []),
    ...(nodeMajor >= 24 ? [{ claim: `a worker in TypeScript, by Node itself: ${engine}`, ...typedMain(engine) }] : []),
    {
      claim: `the program has been given options of Node: ${engine}`,
      nodeOptions: ['--cpu-prof', '--cpu-prof-dir', 'profiles', '--inspect-port', '0', '--title', 'main', '--no-warnings'],
      body: `await using(createPool(file, { engine: '${engine}', size: 1 }))`,
      lines: ['3'],
    },
    bundled('esm', engine),
    bundled('cjs', engine),
  ]),
  {
    claim: 'a createPool that throws leaves nothing behind',
    body: `for (const engine of ['threads', 'processes', 'inline'])
        try { createPool(file, { engine, data: { f() {} } }) } catch (error) { console.log(error.code) }`,
    lines: Array(3).fill('ERR_EXODOS_UNCLONEABLE'),
  },
]

describe('programs', () => {
  const cases = programs.map((program): [string, Program] => [program.claim, program])
  test.concurrent.each(cases)('%s', { timeout: 60_000 }, async (_, { body, lines, nodeOptions = [], files = {} }) => {
    const {
      code,
      stderr,
      lines: printed,
    } = await run(
      `import { createPool } from '@exodos/pool'
      import { writeFileSync } from 'node:fs'
      const file = new URL('${fixture('tasks.mjs')}')
      for (const [name, text] of Object.entries(${JSON.stringify(files)})) writeFileSync(name, text)
      const using = async (pool) => console.log(await pool.run('add', [1, 2]))
      ${body}`,
      { nodeOptions, timeout: 50_000 },
    )
    const text = stderr.replaceAll(/^.*ExperimentalWarning.*\n|^.*--trace-warnings.*\n/gm, '')
    expect({ code, stderr: text, printed: printed.sort() }).toEqual({ code: 0, stderr: '', printed: lines.sort() })
  })
})
