import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { Report } from '../core/report.js'
import { listenOnce } from '../process/real.js'
import { LEAVING } from '../system/proc.js'
import type { Hang } from '../watchdog/watchdog.js'
import { type Child, makeDirectory } from './directory.js'
import type { Ended } from './leave-as.js'
import { startProgram } from './program.js'
import { listenForSignals } from './relay.js'
import { say } from './say.js'
import { type Blocked, ENDING, type Limits, type Process, Shutdown } from './shutdown.js'

export interface SuperviseOptions extends Limits {
  /** A file. */
  readonly report: string | undefined
}

/** What `exodos run --report` writes. Its JSON Schema is `exodos/run-report.schema.json`. */
export interface RunReport {
  schema: 1
  command: readonly string[]
  pid: number
  /** Milliseconds since the epoch. */
  startedAt: number
  /** Milliseconds. */
  duration: number
  /** What was passed on to the program, and when, in milliseconds since its start. */
  signals: { signal: string; at: number; toGroup: boolean }[]
  exit: { code?: number; signal?: string }
  /** Event loops that were blocked when they should have left. */
  blocked: Blocked[]
  /** What watchdogs have seen in runs under way. */
  hangs: Hang[]
  /** What was left in the process group when the program had ended. */
  leftBehind: Process[]
  killed: Process[]
  /** The child processes and worker threads that Node programs have started, and how they ended: also by SIGKILL. */
  children: Child[]
  /** Of the program's processes that use exodos. */
  reports: Report[]
}

const ignore = () => {}

/** Runs a program to its end and cleans up after it. Rejects with `StartError` when it can't be started. */
export async function supervise(command: string, args: readonly string[], options: SuperviseOptions): Promise<Ended> {
  warnAsInit()
  const directory = makeDirectory()
  const signals: RunReport['signals'] = []
  // A signal that comes before the program is there waits for it.
  const early: [NodeJS.Signals, boolean][] = []
  let pass = (...signal: [NodeJS.Signals, boolean]): void => {
    early.push(signal)
  }
  const startedAt = Date.now()
  const stopListening = listenForSignals((signal, toGroup) => {
    // Who asks us sees then that we are leaving, and doesn't ask once more.
    if (ENDING.includes(signal)) listenOnce(LEAVING, ignore)
    signals.push({ signal, at: Date.now() - startedAt, toGroup })
    pass(signal, toGroup)
  })
  try {
    const child = await startProgram(command, args, {
      directory: directory.path,
      grace: options.isGraceFixed ? `${options.grace}ms` : undefined,
      wantsReports: options.report !== undefined,
    })
    const shutdown = new Shutdown(child, directory, options)
    pass = (...signal) => shutdown.signal(...signal)
    for (const signal of early) pass(...signal)
    const ended = await Promise.race([endOf(child), shutdown.hopeless.then((): Ended => ({ code: null, signal: 'SIGKILL' }))])
    const leftBehind = await shutdown.endLeftovers()
    shutdown.stop()
    if (options.report !== undefined)
      writeReport(options.report, {
        schema: 1,
        command: [command, ...args],
        pid: child.pid as number,
        startedAt,
        duration: Date.now() - startedAt,
        signals,
        exit: ended.signal ? { signal: ended.signal } : { code: ended.code ?? 0 },
        blocked: shutdown.blocked,
        hangs: directory.hangs().filter(({ where }) => where !== 'debugger'),
        leftBehind,
        killed: shutdown.killed,
        children: directory.children(),
        reports: directory.reports(),
      })
    return ended
  } finally {
    stopListening()
    directory.remove()
  }
}

async function endOf(child: ChildProcess): Promise<Ended> {
  const [code, signal] = await once(child, 'exit')
  return { code, signal }
}

/** The first process of a container is handed every orphan, and Node never asks how those ended. */
function warnAsInit(): void {
  if (process.pid === 1)
    say('this is PID 1: orphans that end stay as zombies, which only an init collects (docker run --init, tini)')
}

function writeReport(file: string, report: RunReport): void {
  try {
    writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
  } catch (error) {
    say(`the report could not be written: ${(error as Error).message}`)
  }
}
