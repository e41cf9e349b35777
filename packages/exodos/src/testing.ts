/// <reference lib="esnext.disposable" preserve="true" />
/**
 * Tests of a program's exits: in process with a private registry, or with a real process.
 *
 * @packageDocumentation
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Clock, type Duration, parseDuration } from './core/deadline.js'
import { checkOptions, invalid } from './core/errors.js'
import type { Reason } from './core/hook.js'
import type { Report } from './core/report.js'
import { clock as realClock } from './process/clock.js'
import { Coordinator, type Platform } from './process/coordinator.js'
import { freshState, replaceCoordinator } from './process/shared.js'

export type { Report, ReportedError, ReportedHook, ReportedReason } from './core/report.js'

/** How the program under test is to leave: `{ signal: 'SIGTERM' }`, `{ code: 3 }`, `{ error }`, `{ parentLost: true }`, or nothing for a natural end. */
export interface ExitBy {
  signal?: NodeSignal
  code?: number
  error?: unknown
  parentLost?: boolean
}

type NodeSignal = `SIG${string}`

export interface IsolatedExits {
  /** Leaves as told, as far as hooks can see it, and resolves with the report. The process goes on. */
  run(by?: ExitBy): Promise<Report>
  /** Forces the run under way, as a second signal would. */
  force(): void
  /** Aborted when a run that leaves begins. */
  readonly exiting: AbortSignal
  /** Puts the registry of before back; hooks registered meanwhile are gone. */
  restore(): void
  [Symbol.dispose](): void
}

/**
 * Gives the calling thread a private registry until `restore()`: all hooks registered meanwhile, by any copy of
 * exodos, go there. It has no listeners and no patches, and nothing in it ends the process.
 *
 * `clock` makes time stand still until it is advanced, see `fakeClock`.
 */
export function isolateExits(options: { clock?: Clock } = {}): IsolatedExits {
  const nothing = () => {}
  const platform: Platform = {
    clock: options.clock ?? realClock,
    pid: process.pid,
    thread: 0,
    exitCode: 0,
    install: nothing,
    uninstall: nothing,
    retire: nothing,
    tellOrder: nothing,
    watch: nothing,
    deliver: nothing,
    leave: nothing,
    reallyExit: nothing,
    printError: nothing,
    warn: nothing,
  }
  const coordinator: Coordinator = new Coordinator(() => platform, freshState())
  const restore = replaceCoordinator(coordinator)
  return {
    run: (by = {}) => coordinator.run(reasonOf(by)),
    force: () => coordinator.force(),
    exiting: coordinator.state.exiting.signal,
    restore,
    [Symbol.dispose]: restore,
  }
}

function reasonOf(by: ExitBy): Reason {
  const { signal, code, error, parentLost } = by
  if (signal !== undefined) return { kind: 'signal', signal }
  if (code !== undefined) return { kind: 'exit', code }
  if ('error' in by) return { kind: 'error', error, code: 1 }
  return { kind: parentLost ? 'parent' : 'natural' }
}

/** A clock that stands still, for `isolateExits({ clock })`. */
export interface FakeClock extends Clock {
  /** Lets time pass, calling what comes due in order, and what follows from it. */
  advance(duration: Duration): Promise<void>
}

/** Makes a clock that moves only when told to. */
export function fakeClock(): FakeClock {
  let now = 0
  const turns = new Set<object>()
  const due = new Set<{ at: number; callback: () => void }>()
  const wait = (ms: number, callback: () => void) => {
    const entry = { at: now + ms, callback }
    due.add(entry)
    return () => void due.delete(entry)
  }
  const settle = () => new Promise<void>((resolve) => realClock.soon(resolve))
  return {
    now: () => now,
    busy: () => now,
    wait,
    soon(callback) {
      const turn = {}
      turns.add(turn)
      const cancel = realClock.soon(() => {
        turns.delete(turn)
        callback()
      })
      return () => {
        turns.delete(turn)
        cancel()
      }
    },
    async advance(duration) {
      const end = now + parseDuration(duration, 'advance(duration)')
      for (;;) {
        do await settle()
        while (turns.size > 0)
        const next = [...due].filter((entry) => entry.at <= end).sort((a, b) => a.at - b.at)[0]
        if (!next) break
        due.delete(next)
        now = Math.max(now, next.at)
        next.callback()
      }
      now = end
      await settle()
    },
  }
}

export interface ExpectExitOptions {
  args?: readonly string[]
  /** Options for Node, before the file. */
  execArgv?: readonly string[]
  env?: Readonly<Record<string, string | undefined>>
  cwd?: string
  /** Sent once the program is ready; without it the program is to end by itself. */
  killSignal?: NodeSignal
  /** The program is ready when stdout holds this text. Default: when it has printed anything. */
  readyWhen?: string
  /** Killed after this long, and the promise rejects. Default 30 s. */
  timeout?: Duration
}

/** What the parent of the program saw. */
export interface Exit {
  code: number | null
  signal: string | null
  stdout: string
  stderr: string
  /** Milliseconds from `killSignal`, or from the start, to the end. */
  duration: number
  /** The program's report; undefined if it wrote none. */
  report: Report | undefined
}

/** Runs a program in a real process of this Node, and resolves with how it ended. */
export async function expectExit(program: string | URL, options: ExpectExitOptions = {}): Promise<Exit> {
  const file = program instanceof URL ? fileURLToPath(program) : program
  if (typeof file !== 'string') throw invalid('expectExit(program)', 'the path or URL of a program', program)
  checkOptions('expectExit(program, options)', options, ['args', 'execArgv', 'env', 'cwd', 'killSignal', 'readyWhen', 'timeout'])
  const timeout = parseDuration(options.timeout ?? '30s', 'options.timeout')
  const dir = mkdtempSync(join(tmpdir(), 'exodos-test-'))
  const reportFile = join(dir, 'report.json')
  try {
    const exit = await watch(file, { ...options, timeout }, reportFile)
    return { ...exit, report: readReport(reportFile) }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

function watch(
  file: string,
  options: ExpectExitOptions & { timeout: number },
  reportFile: string,
): Promise<Omit<Exit, 'report'>> {
  const { args = [], execArgv = [], env, cwd, killSignal, readyWhen, timeout } = options
  const child = spawn(process.execPath, [...execArgv, file, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, EXODOS_REPORT: reportFile, ...env },
    ...(cwd === undefined ? {} : { cwd }),
  })
  let began = performance.now()
  let stdout = ''
  let stderr = ''
  let signalled = killSignal === undefined
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      const waiting = signalled ? '' : `, ${killSignal} unsent: it had not printed ${readyWhen ?? 'anything'}`
      reject(new Error(`${file} was still running after ${timeout} ms${waiting}\n${stdout}${stderr}`))
    }, timeout)
    child.stdout.on('data', (data) => {
      stdout += data
      if (signalled || (readyWhen !== undefined && !stdout.includes(readyWhen))) return
      signalled = true
      began = performance.now()
      child.kill(killSignal as NodeJS.Signals)
    })
    child.stderr.on('data', (data) => {
      stderr += data
    })
    child.once('error', reject)
    child.once('close', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, stdout, stderr, duration: performance.now() - began })
    })
  })
}

function readReport(file: string): Report | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Report
  } catch {
    return undefined
  }
}
