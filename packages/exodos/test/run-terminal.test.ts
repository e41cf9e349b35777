import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { type Program, poll, start } from './support/program.js'
import { aliveInGroup, exodosRun, isGone, path } from './support/supervise.js'

const tsx = fileURLToPath(new URL('../../../node_modules/.bin/tsx', import.meta.url))

interface Row {
  name: string
  command: string[]
  /** How `exodos run` ends, if not by the signal. */
  exit?: Partial<Record<NodeJS.Signals, { code: number }>>
}

/** What starts the program, and so stands between it and `exodos run`. */
const rows: Row[] = [
  { name: 'nothing', command: ['node', 'program.mjs'] },
  { name: "sh -c '…; true'", command: ['sh', '-c', 'node program.mjs; true'] },
  { name: 'npm run', command: ['npm', 'run', '--silent', 'app'] },
  { name: 'npx', command: ['npx', '--no-install', 'the-app'] },
  // It exits with the code that shells give for these signals.
  { name: 'tsx', command: [tsx, 'program.mjs'], exit: { SIGTERM: { code: 143 }, SIGINT: { code: 130 } } },
]

/** Writes down what happens to it in a file, which outlives a terminal. */
const source = `#!/usr/bin/env node
import { onExit } from 'exodos'
import { appendFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
const note = (text) => appendFileSync('log', text + '\\n')
for (const signal of ['SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGTERM']) process.on(signal, () => note(signal))
onExit(async () => { await sleep(150); note('hook') })
note('pid ' + process.pid)
setTimeout(() => {}, 60_000)
console.log('ready')`

const limits = ['--grace=2s', '--kill-after=1s']
/** Beyond grace and kill-after nothing is waited for. */
const timeout = 8000
const env = { PATH: path, SHELL: '/bin/sh', npm_config_update_notifier: 'false', NODE_NO_WARNINGS: '1' }

const scripts = { app: 'node program.mjs', supervised: 'exodos run -- node program.mjs; true' }

/** A package around the program, for npm and npx. */
function makePackage(file: string): void {
  const dir = dirname(file)
  mkdirSync(join(dir, 'node_modules/.bin'), { recursive: true })
  symlinkSync(fileURLToPath(new URL('..', import.meta.url)), join(dir, 'node_modules/exodos'))
  symlinkSync('../exodos/bin/exodos.js', join(dir, 'node_modules/.bin/exodos'))
  writeFileSync(join(dir, 'node_modules/.bin/the-app'), '#!/bin/sh\nexec node program.mjs\n', { mode: 0o755 })
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'app', scripts }))
}

/** Its stdin is a pipe: what is typed, in a terminal. */
const startInPackage = (command: string[]): Program =>
  start(source, {
    env,
    timeout,
    stdio: ['pipe', 'pipe', 'pipe'],
    command: (file) => {
      makePackage(file)
      return command
    },
  })

/** What the program has written down: how often it was started, what it was sent, how often its hook ran. */
function logOf({ dir }: Program) {
  const lines = readFileSync(join(dir, 'log'), 'utf8').trim().split('\n')
  return {
    pids: lines.filter((line) => line.startsWith('pid')).map((line) => Number(line.slice(4))),
    sent: lines.filter((line) => line.startsWith('SIG')),
    hooks: lines.filter((line) => line === 'hook').length,
  }
}

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT'] as const

describe.concurrent.each(signals)(
  '%s by kill to `exodos run`, without a terminal: hooks run once, all is gone, with in between',
  (signal) => {
    test.each(rows)('$name', async (row) => {
      const program = startInPackage(exodosRun(limits, ...row.command))
      await program.until('ready')
      program.kill(signal)
      const ended = await program.ended
      expect(logOf(program)).toMatchObject({ pids: [expect.any(Number)], sent: [expect.any(String)], hooks: 1 })
      expect(ended).toMatchObject(row.exit?.[signal] ?? { signal })
      expect(ended.stderr).not.toContain('killed')
      await poll(() => aliveInGroup(program.child.pid as number)).toEqual([])
    })
  },
)

describe.concurrent('in a terminal: the program is sent each signal once, its hooks run once, all is gone', () => {
  const ways: [string, NodeJS.Signals, (program: Program, supervisor: number) => void][] = [
    ['Ctrl-C', 'SIGINT', ({ child }) => child.stdin?.write('\x03')],
    ['Ctrl-\\', 'SIGQUIT', ({ child }) => child.stdin?.write('\x1c')],
    ['the terminal is closed', 'SIGHUP', ({ child }) => child.kill('SIGKILL')],
    ['kill -INT of the supervisor', 'SIGINT', (_, supervisor) => process.kill(supervisor, 'SIGINT')],
  ]
  describe.each(ways)('%s, with in between', (way, signal, act) => {
    test.each(rows)('$name', async (row) => {
      const program = startInPackage(inTerminal(exodosRun(limits, ...row.command)))
      await program.until('ready')
      const supervisor = Number(readFileSync(join(program.dir, 'supervisor'), 'utf8'))
      act(program, supervisor)
      const ended = await program.ended
      await isGone(supervisor)
      const { pids, sent, hooks } = logOf(program)
      // tsx passes a signal on itself when its program doesn't answer within 30 ms that it has seen it.
      const times = row.name === 'tsx' ? Math.min(sent.length, 1) : sent.length
      expect({ pids: pids.length, sent: times, hooks }).toEqual({ pids: 1, sent: 1, hooks: 1 })
      // The end of `script` tells how the supervisor has ended, unless it is the terminal that was closed.
      if (way !== 'the terminal is closed') expect(ended.code).toBe(128 + constants.signals[signal])
      expect(ended.stdout).not.toContain('killed')
      await poll(() => aliveInGroup(supervisor)).toEqual([])
    })
  })

  test('Ctrl-C twice, slowly: the program is sent it twice, and the second forces', async () => {
    const program = start(source.replace('sleep(150)', 'sleep(20_000)'), {
      env,
      stdio: ['pipe', 'pipe', 'pipe'],
      command: (file) => {
        makePackage(file)
        return inTerminal(exodosRun([], 'node', 'program.mjs'))
      },
    })
    await program.until('ready')
    program.child.stdin?.write('\x03')
    // Nearer than half a second they are taken for one.
    setTimeout(() => program.child.stdin?.write('\x03'), 700)
    const ended = await program.ended
    expect(ended.code).toBe(130)
    expect(logOf(program).sent).toEqual(['SIGINT', 'SIGINT'])
    expect(ended.ms).toBeLessThan(8000)
  })

  test("the shell of a terminal that is closed dies with it, and all of its jobs' group is sent SIGHUP: once", async () => {
    const [shell = '', options = '', command = '', log = ''] = inTerminal(exodosRun(limits, 'node', 'program.mjs'))
    // A shell that stays, and is the leader of the session in place of the supervisor.
    const program = startInPackage([shell, options, `sh -c ${quoted(command)}; true`, log])
    await program.until('ready')
    const supervisor = Number(readFileSync(join(program.dir, 'supervisor'), 'utf8'))
    program.child.kill('SIGKILL')
    await isGone(supervisor)
    expect(logOf(program)).toMatchObject({ sent: ['SIGHUP'], hooks: 1 })
    await poll(() => aliveInGroup(supervisor)).toEqual([])
  })
})

/** In a terminal of its own, which `script` makes; what is written to its stdin is typed. */
function inTerminal(command: string[]): string[] {
  return ['script', '-qec', `echo $$ > supervisor; exec ${command.map(quoted).join(' ')}`, '/dev/null']
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}

test.each([
  { name: 'npm run', command: ['npm', 'run', '--silent', 'supervised'] },
  { name: 'npx', command: ['npx', '--no-install', 'exodos', 'run', '--', 'node', 'program.mjs'] },
])('below $name, whose shell a SIGTERM may end: its end stands for the signal', async ({ command }) => {
  const program = startInPackage(command)
  await program.until('ready')
  program.kill('SIGTERM')
  await program.ended
  expect(logOf(program)).toMatchObject({ sent: ['SIGTERM'], hooks: 1 })
  await poll(() => aliveInGroup(program.child.pid as number)).toEqual([])
})
