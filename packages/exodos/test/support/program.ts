import { AsyncLocalStorage } from 'node:async_hooks'
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, aroundEach, type ExpectStatic, expect, type TestContext } from 'vitest'
import type { Report } from '../../src/core/report.js'

/** The Node that programs under test run on; the tests themselves run on the machine's own. */
export const node = process.env.EXODOS_TEST_NODE ?? process.execPath
export const nodeMajor = Number(process.env.EXODOS_TEST_NODE_MAJOR ?? process.versions.node.split('.')[0])

/** Inside the package, so that programs can `import 'exodos'` by its own name. */
const root = new URL(`../.run/${process.env.EXODOS_TEST_SUITE}/`, import.meta.url).pathname

export interface ProgramOptions {
  /** `.mjs` by default. */
  ext?: 'mjs' | 'cjs' | 'js'
  /** Options for Node, before the program's file. */
  nodeOptions?: string[]
  args?: string[]
  env?: Record<string, string | undefined>
  stdio?: SpawnOptions['stdio']
  /** Killed, and failed, after this many milliseconds. Default 15,000. */
  timeout?: number
  /** In place of `node file`. */
  command?: (file: string) => string[]
}

export interface Ended {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
  /** Non-empty lines of stdout. */
  lines: string[]
  /** Milliseconds from the start to the end. */
  ms: number
  report: Report | undefined
  dir: string
}

export interface Program {
  child: ChildProcess
  /** The program's own empty directory; gone after the test. */
  dir: string
  /** What is on stdout so far. */
  printed(): string
  /** Resolves once stdout holds the text. */
  until(text: string): Promise<void>
  /** Sends a signal, or a message over the IPC channel. */
  kill(signal: NodeJS.Signals): void
  ended: Promise<Ended>
}

interface Running {
  context?: TestContext
  cleanups: (() => unknown)[]
}

/** The test that a call belongs to, also where several run at once. */
const current = new AsyncLocalStorage<Running>()
const ofFile: Running = { cleanups: [] }

aroundEach(async (runTest, context) => {
  const test = { context, cleanups: [] }
  await current.run(test, runTest)
  await cleanUp(test)
})
afterAll(() => cleanUp(ofFile))

async function cleanUp({ cleanups }: Running): Promise<void> {
  for (const cleanup of cleanups.reverse()) await cleanup()
}

/** Calls it, newest first, when the test is over in which this is called; outside of tests, when the file is. */
export function whenOver(cleanup: () => unknown): void {
  ;(current.getStore() ?? ofFile).cleanups.push(cleanup)
}

/** `expect.poll` for tests that run at once: of the global one Vitest may not know to which of them it belongs. */
export const poll: ExpectStatic['poll'] = (...args) => (current.getStore()?.context?.expect ?? expect).poll(...args)

function killGroup(child: ChildProcess): void {
  try {
    process.kill(-(child.pid as number), 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}

/** Starts a program given as source text, in a real process of the Node under test. */
export function start(source: string, options: ProgramOptions = {}): Program {
  const { ext = 'mjs', nodeOptions = [], args = [], env = {}, timeout = 15_000 } = options
  mkdirSync(root, { recursive: true })
  const dir = mkdtempSync(join(root, 'p-'))
  // A guardian may be tidying up in there.
  whenOver(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }))
  const file = join(dir, `program.${ext}`)
  const reportFile = join(dir, 'report.json')
  writeFileSync(file, source)
  const [command = node, ...rest] = options.command?.(file) ?? [node, ...nodeOptions, file, ...args]
  const began = performance.now()
  const child = spawn(command, rest, {
    cwd: dir,
    stdio: options.stdio ?? ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that what a failed test leaves behind can be ended.
    detached: true,
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NO_COLOR: '1',
      EXODOS_REPORT: reportFile,
      EXODOS_STATE_DIR: join(dir, 'state'),
      ...env,
    },
  })
  let hasEnded = false
  whenOver(() => hasEnded || killGroup(child))
  let stdout = ''
  let stderr = ''
  let look = () => {}
  child.stdout?.on('data', (data) => {
    stdout += data
    look()
  })
  child.stderr?.on('data', (data) => {
    stderr += data
  })
  const ended = new Promise<Ended>((resolve, reject) => {
    const timer = setTimeout(() => {
      killGroup(child)
      reject(new Error(`still running after ${timeout} ms\n${stdout}\n${stderr}`))
    }, timeout)
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      hasEnded = true
      look()
      const report = existsSync(reportFile) ? (JSON.parse(readFileSync(reportFile, 'utf8')) as Report) : undefined
      const lines = stdout.split('\n').filter(Boolean)
      resolve({ code, signal, stdout, stderr, lines, ms: performance.now() - began, report, dir })
    })
  })
  ended.catch(() => {})
  return {
    child,
    dir,
    ended,
    printed: () => stdout,
    kill: (signal) => void child.kill(signal),
    until: (text) =>
      new Promise((resolve, reject) => {
        look = () => {
          if (stdout.includes(text)) resolve()
          else if (child.exitCode !== null || child.signalCode !== null)
            reject(new Error(`ended before "${text}" came\n${stdout}\n${stderr}`))
        }
        look()
      }),
  }
}

/** Runs a program to its end. */
export function run(source: string, options?: ProgramOptions): Promise<Ended> {
  return start(source, options).ended
}

/** Starts a program, waits until it prints `ready`, sends it a signal, and waits for its end. */
export async function runAndKill(source: string, signal: NodeJS.Signals, options?: ProgramOptions): Promise<Ended> {
  const program = start(source, options)
  await program.until('ready')
  program.kill(signal)
  return program.ended
}

/** Common beginnings of programs: the imports, and hooks that say their name. */
export const prelude = `
import { onExit, exit, track, exiting, configure, runExitHooks } from 'exodos'
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
const say = (text) => writeSync(1, text + '\\n')
const hold = () => setTimeout(() => {}, 60_000)
`
