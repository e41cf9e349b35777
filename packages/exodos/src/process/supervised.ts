import type { Report } from '../core/report.js'
import { seen } from '../system/proc.js'
import { builtin, EventEmitter, listenOnce, realProcess } from './real.js'

/**
 * A program under `exodos run` tells its supervisor by files in a directory that both know, because a file can be
 * written at once, whatever becomes of the event loop a moment later:
 * - `PID.json` that it is there, and whether its inspector can be opened to look into a blocked loop
 * - `PID.seen` which signal has reached JavaScript, and when: its loop turned
 * - `PID.leaving` that its run has begun
 * - `PID.hang.json` what its watchdog has seen
 * - `PID.report.json` the report of its run, `PID.THREAD.report.json` that of a worker thread's
 * - `PID.children` which child processes it has started, and how they have ended: a line for each
 * And the supervisor tells a program, in `PID.passed`, which signal it has passed on to it alone.
 */
const directory = realProcess.env.EXODOS_RUN

export const isSupervised = directory !== undefined

/** What a program says of itself. */
export interface Announcement {
  readonly pid: number
  /** Of Linux, in clock ticks since boot: tells it from a later process with the same pid. */
  readonly startTime: string | undefined
  /** Where its inspector is, or will be after SIGUSR1; undefined where it can't be opened. */
  readonly inspector: { readonly port: number } | { readonly url: string } | undefined
}

const ANNOUNCED = Symbol.for('exodos.announced')
const once = EventEmitter as unknown as { [ANNOUNCED]?: true }

/** Says once, for all copies of exodos, that the program is there, and keeps that true when it listens for SIGUSR1 itself. */
export function announce(): void {
  if (!isSupervised || once[ANNOUNCED]) return
  once[ANNOUNCED] = true
  const announcement: Announcement = {
    pid: realProcess.pid,
    startTime: seen(realProcess.pid)?.startTime,
    inspector: prepareInspector(),
  }
  tell('json', announcement)
  listenOnce('newListener', (event: string) => {
    if (event === 'SIGUSR1') tell('json', { ...announcement, inspector: undefined })
  })
  tellOfSignals()
}

/**
 * A program that has seen its signal does with it what it wants, and takes its time: only one that hasn't is blocked.
 * Node keeps `process.emit` for a signal when its first listener is added, so it is wrapped before that, for good.
 */
function tellOfSignals(): void {
  const inner = realProcess.emit as (...args: unknown[]) => boolean
  const emit = (...args: unknown[]): boolean => {
    if (/^SIG/.test(String(args[0]))) tell('seen', { signal: args[0], at: Date.now() })
    return inner.apply(realProcess, args)
  }
  realProcess.emit = emit as typeof realProcess.emit
}

/** Says that the run has begun, and how long it may take, in milliseconds. */
export function tellLeaving(grace: number): void {
  tell('leaving', { grace })
}

/** Says that nothing came of it: somebody has replaced the real exit. */
export function tellStaying(): void {
  try {
    const file = fileFor('leaving')
    if (file) builtin<typeof import('node:fs')>('node:fs').rmSync(file, { force: true })
  } catch {
    // As above.
  }
}

/** Where the watchdog writes what it sees. */
export function noteFile(): string | undefined {
  try {
    return fileFor('hang.json')
  } catch {
    return undefined
  }
}

/** Does the supervisor want the report, beside where the program itself wants it? */
export const wantsReport = isSupervised && realProcess.env.EXODOS_RUN_REPORT !== undefined

export function tellReport(report: Report): void {
  tell(report.thread === 0 ? 'report.json' : `${report.thread}.report.json`, report)
}

/** The supervisor's directory. When that has gone, somebody else may have made one of the same name. */
function fileFor(kind: string): string | undefined {
  if (!directory) return undefined
  const { uid, mode } = builtin<typeof import('node:fs')>('node:fs').lstatSync(directory)
  const isOurs = !realProcess.getuid || (uid === realProcess.getuid() && (mode & 0o77) === 0)
  return isOurs ? `${directory}/${realProcess.pid}.${kind}` : undefined
}

function tell(kind: string, content: unknown, isLine = false): void {
  try {
    const file = fileFor(kind)
    const flag = isLine ? 'a' : 'w'
    if (file)
      builtin<typeof import('node:fs')>('node:fs').writeFileSync(file, `${isLine ? '\n' : ''}${JSON.stringify(content)}`, {
        flag,
      })
  } catch {
    // The supervisor has gone, or files may not be written here: the program leaves as it would without one.
  }
}

/**
 * SIGUSR1 makes Node open its inspector, also while JavaScript is stuck. The default port is what people use by hand,
 * so one at random is set, below those that systems give to outgoing connections.
 */
function prepareInspector(): Announcement['inspector'] {
  try {
    const url = builtin<typeof import('node:inspector') | undefined>('node:inspector')?.url()
    if (url) return { url }
    const options = `${realProcess.execArgv.join(' ')} ${realProcess.env.NODE_OPTIONS ?? ''}`
    const isClosed = /--disable-sigusr1/.test(options) || 'permission' in realProcess
    if (isClosed || realProcess.listenerCount('SIGUSR1') > 0 || realProcess.platform === 'win32') return undefined
    const port = 20_000 + Math.floor(Math.random() * 12_000)
    realProcess.debugPort = port
    return { port }
  } catch {
    return undefined
  }
}

/** Says that a child process was started, or has ended. */
export function tellChild(change: ChildChange): void {
  tell('children', change, true)
}

/** A line of what a process says of those that it has started. */
export interface ChildChange {
  readonly pid: number
  /** Of a worker thread; then `pid` is that of the process. */
  readonly thread?: number
  readonly parent: number
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Absent when it has ended. */
  readonly command?: string
  /** How it has ended. */
  readonly exit?: { readonly code: number } | { readonly signal: string }
}

/** Has the supervisor passed this signal on to us, knowing that nobody else was sent it? */
export function wasToUsAlone(signal: string): boolean {
  try {
    const file = fileFor('passed')
    return file !== undefined && read(file) === signal
  } catch {
    return false
  }
}

const read = (file: string) => builtin<typeof import('node:fs')>('node:fs').readFileSync(file, 'utf8')
