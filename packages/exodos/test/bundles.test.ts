import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, stop } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { node, type Program, prelude, start } from './support/program.js'

interface Case {
  /** Runs after the two common hooks are registered. */
  source: string
  /** What the test does while the program runs. */
  act?: (program: Program) => Promise<void>
  expected: object
  stderr?: RegExp
}

const both = ['slow', 'sync']
const sendAtReady = (signal: NodeJS.Signals) => async (program: Program) => {
  await program.until('ready')
  program.kill(signal)
}

const cases: Record<string, Case> = {
  'natural end': { source: '', expected: { code: 0, lines: both } },
  'process.exit': { source: 'process.exit(3)', expected: { code: 3, lines: both } },
  'exit of exodos': { source: 'await exit(4)', expected: { code: 4, lines: both } },
  'uncaught error': {
    source: 'setImmediate(() => { throw new Error("thrown on purpose") })',
    expected: { code: 1, lines: both },
    stderr: /Error: thrown on purpose[\s\S]*Node\.js v\d+/,
  },
  'unhandled rejection': {
    source: 'Promise.reject(new Error("rejected on purpose"))',
    expected: { code: 1, lines: both },
    stderr: /Error: rejected on purpose/,
  },
  SIGTERM: {
    source: 'hold(); say("ready")',
    act: sendAtReady('SIGTERM'),
    expected: { code: null, signal: 'SIGTERM', lines: ['ready', ...both] },
  },
  'SIGINT twice': {
    // Two signals within 500 ms count as one.
    source: `
      onExit(async (ctx) => {
        say('first')
        const aborted = new Promise((resolve) => ctx.signal.addEventListener('abort', resolve))
        await sleep(600)
        say('again')
        await aborted
      })
      hold()
      say('ready')`,
    act: async (program) => {
      await sendAtReady('SIGINT')(program)
      await program.until('again')
      program.kill('SIGINT')
    },
    expected: { code: null, signal: 'SIGINT', lines: ['ready', 'first', 'again', ...both], report: { forced: true } },
    stderr: /SIGINT: 3 hooks in .*forced/,
  },
  'process.reallyExit': {
    source: 'process.reallyExit(5)',
    expected: { code: 5, lines: ['sync'], report: { cut: true } },
    stderr: /cut: not started/,
  },
  'hanging hook': {
    source: 'configure({ grace: 300 }); onExit(() => new Promise(() => {}), { name: "hanging" }); process.exit(0)',
    expected: { code: 1, lines: both },
    stderr: /overdue .* release hanging/,
  },
  runExitHooks: {
    source: 'await runExitHooks(); say("empty"); process.exit(6)',
    expected: { code: 6, lines: [...both, 'empty'] },
  },
  'worker thread': {
    source: `
      const worker = new Worker(process.argv[1], { argv: ['process.exit'] })
      worker.on('exit', (code) => say('worker ' + code))`,
    expected: { code: 0, lines: [...both, 'worker 3', ...both] },
  },
  'guest alone': {
    source: 'process.exit(7)',
    expected: { code: 7, lines: ['sync'] },
    stderr: /^/,
  },
}

const program = `
${prelude}
import { onExit as onGuestExit } from 'exodos/lib'
import { Worker } from 'node:worker_threads'
const cases = {
${Object.entries(cases)
  .map(([name, { source }]) => `  ${JSON.stringify(name)}: async () => { ${source} },`)
  .join('\n')}
}
const register = process.argv[2] === 'guest alone' ? onGuestExit : onExit
register(() => say('sync'))
register(async function slow() { await sleep(20); say('slow') })
cases[process.argv[2]]()
`

const bundles: Record<string, BuildOptions> = {
  'one ESM file': { format: 'esm' },
  'one CommonJS file': { format: 'cjs' },
  'one minified ESM file': { format: 'esm', minify: true },
  'one minified CommonJS file': { format: 'cjs', minify: true },
}

// esbuild keeps a process of its own.
afterAll(() => stop())

describe.each(Object.entries(bundles))('bundled into %s', (_, options) => {
  // Outside of the package: nothing can be found in a node_modules directory.
  const dir = mkdtempSync(join(tmpdir(), 'exodos-bundle-'))
  const file = join(dir, options.format === 'esm' ? 'bundle.mjs' : 'bundle.cjs')
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  beforeAll(async () => {
    await build({
      stdin: { contents: program, resolveDir: fileURLToPath(new URL('.', import.meta.url)) },
      outfile: file,
      bundle: true,
      platform: 'node',
      target: 'node20.19',
      logLevel: 'silent',
      ...options,
    })
  })

  test('the bundle is complete', () => {
    expect(readFileSync(file, 'utf8')).not.toMatch(/(from|require\(|import\()\s*["']exodos/)
  })

  test.each(Object.entries(cases))('%s', async (name, { act, expected, stderr = /^$/ }) => {
    const started = start('', { command: () => [node, file, name] })
    await act?.(started)
    const ended = await started.ended
    expect(ended).toMatchObject(expected)
    expect(ended.stderr).toMatch(stderr)
  })
})
