import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { node, type ProgramOptions, run, runAndKill, start } from './support/program.js'
import { isAlive, main } from './support/supervise.js'

const packageDir = fileURLToPath(new URL('..', import.meta.url))

/** A library's hook, which no application has asked for a full run. */
const guest = `
import { onExit } from 'exodos/lib'
import { setTimeout as sleep } from 'node:timers/promises'
onExit(async () => { await sleep(20); console.log('hook') })
`
const leaving = `${guest} setTimeout(() => process.exit(3), 1)`
const staying = `${guest} setTimeout(() => {}, 60_000); console.log('ready')`

describe('hooks of libraries get the full run', () => {
  const commonjs = guest.replace(
    /import (.*) from ('.*')/g,
    (_, what, from) => `const ${what.replace(' as ', ': ')} = require(${from})`,
  )
  const ways: [string, string, ProgramOptions][] = [
    ['--import', leaving, { nodeOptions: ['--import', 'exodos/register'] }],
    ['--require', leaving, { nodeOptions: ['--require', 'exodos/register'] }],
    [
      '--import, CommonJS',
      `${commonjs} setTimeout(() => process.exit(3), 1)`,
      { ext: 'cjs', nodeOptions: ['--import', 'exodos/register'] },
    ],
    [
      '--require, CommonJS',
      `${commonjs} setTimeout(() => process.exit(3), 1)`,
      { ext: 'cjs', nodeOptions: ['--require', 'exodos/register'] },
    ],
    ['NODE_OPTIONS', leaving, { env: { NODE_OPTIONS: '--import=exodos/register' } }],
    [
      'both, and twice',
      leaving,
      {
        nodeOptions: ['--import', 'exodos/register', '--require', 'exodos/register'],
        env: { NODE_OPTIONS: '--import=exodos/register' },
      },
    ],
    ['exodos run', leaving, { command: (file) => [node, main, 'run', '--', node, file] }],
    ['exodos run in exodos run', leaving, { command: (file) => [node, main, 'run', '--', node, main, 'run', '--', node, file] }],
  ]
  test.each(ways)('process.exit waits for an asynchronous one: %s', async (_, source, options) => {
    expect(await run(source, options)).toMatchObject({ code: 3, lines: ['hook'], stderr: '' })
  })

  test('without it, process.exit stays what it is in Node', async () => {
    expect(await run(leaving)).toMatchObject({ code: 3, lines: [] })
  })

  test('a signal that the program handles itself', async () => {
    const source = `${staying}; process.on('SIGTERM', () => console.log('theirs'))`
    const ended = await runAndKill(source, 'SIGTERM', { nodeOptions: ['--import', 'exodos/register'] })
    expect(ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'theirs', 'hook'], stderr: '' })
  })

  test('a program that knows nothing of exodos, has a child, and shuts down in its own way', async () => {
    const source = `
      import { spawn } from 'node:child_process'
      const child = spawn('sleep', ['60'], { stdio: 'ignore' })
      process.on('SIGHUP', () => console.log('loaded anew'))
      process.on('SIGTERM', () => {
        console.log('saving')
        setTimeout(() => { console.log('saved'); process.exit(0) }, 100)
      })
      console.log('ready ' + child.pid)`
    const program = start(source, { nodeOptions: ['--import', 'exodos/register'] })
    await program.until('ready')
    program.kill('SIGHUP')
    await program.until('loaded anew')
    program.kill('SIGTERM')
    const ended = await program.ended
    expect(ended).toMatchObject({ code: 0, lines: [expect.anything(), 'loaded anew', 'saving', 'saved'], stderr: '' })
    expect(isAlive(Number(/\d+/.exec(ended.stdout)?.[0]))).toBe(false)
  })

  test('worker threads are adopted as well', async () => {
    const source = `
      import { Worker, isMainThread } from 'node:worker_threads'
      if (isMainThread) new Worker(new URL(import.meta.url)).on('exit', (code) => console.log('worker ended ' + code))
      else { const { onExit } = await import('exodos/lib'); onExit(async () => { await null; console.log('hook') }); setTimeout(() => process.exit(4), 1) }`
    const ended = await run(source, { nodeOptions: ['--import', 'exodos/register'] })
    expect(ended).toMatchObject({ code: 0, lines: ['hook', 'worker ended 4'], stderr: '' })
  })
})

test('a program without hooks sees no listener and no patch of it', async () => {
  const source = `console.log(JSON.stringify([process.eventNames().sort(), process.exit.name, Object.hasOwn(process, 'emit')]))`
  const [alone, adopted] = await Promise.all([run(source), run(source, { nodeOptions: ['--import', 'exodos/register'] })])
  expect(adopted).toMatchObject({ code: 0, stderr: '', stdout: alone.stdout })
})

test('the application may still configure everything', async () => {
  const source = `import { configure } from 'exodos'; configure({ grace: '3s', processExit: 'cut', failureCode: 9 }); console.log('ok')`
  const ended = await run(source, { nodeOptions: ['--import', 'exodos/register'], env: { EXODOS_GRACE: '4s' } })
  expect(ended).toMatchObject({ code: 0, lines: ['ok'], stderr: '' })
})

describe('NODE_OPTIONS under `exodos run`', () => {
  const source = `${guest}
    console.log(process.env.NODE_OPTIONS.endsWith(process.env.THEIRS), process.env.FROM_THEIRS ?? '')
    console.log(Math.round((await import('node:v8')).getHeapStatistics().heap_size_limit / 2 ** 20) < 300)
    setTimeout(() => process.exit(3), 1)`
  test.each([
    ['--max-old-space-size=100', 'true ', 'true'],
    ['--no-warnings --max-old-space-size=100 --enable-source-maps', 'true ', 'true'],
    ['--require "./with space.cjs"', 'true theirs', 'false'],
  ])('what is there is kept: %s', async (theirs, kept, isSmall) => {
    const ended = await run(source, {
      env: { NODE_OPTIONS: theirs, THEIRS: theirs },
      command: (file) => {
        writeFileSync(join(dirname(file), 'with space.cjs'), `process.env.FROM_THEIRS = 'theirs'`)
        return [node, main, 'run', '--', node, file]
      },
    })
    expect(ended).toMatchObject({ code: 3, stdout: `${kept}\n${isSmall}\nhook\n`, stderr: '' })
  })
})

test.each(['with space', 'ünïcode', 'per%20cent', 'quote"s', "apo'strophe", 'hash#question?'])(
  'the package may be in a directory named %s',
  async (name) => {
    const ended = await run(leaving, {
      command: (file) => {
        const dir = dirname(file)
        const installed = join(dir, name, 'exodos')
        for (const part of ['bin', 'dist']) cpSync(join(packageDir, part), join(installed, part), { recursive: true })
        writeFileSync(join(installed, 'package.json'), readFileSync(join(packageDir, 'package.json')))
        mkdirSync(join(dir, 'node_modules'))
        symlinkSync(installed, join(dir, 'node_modules/exodos'))
        writeFileSync(join(dir, 'package.json'), '{}')
        return [node, join(installed, 'dist/cli/main.js'), 'run', '--', node, file]
      },
    })
    expect(ended).toMatchObject({ code: 3, lines: ['hook'], stderr: '' })
  },
)
