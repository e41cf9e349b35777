import { builtin, listenOnce, realProcess } from './real.js'

/**
 * A program under `exodos run` tells its supervisor by files in a directory that both know, because a file can be
 * written at once, whatever becomes of the event loop a moment later:
 * - `PID.json` that it is there, and whether its inspector can be opened to look into a blocked loop
 * - `PID.leaving` that its run has begun
 * - `PID.hang.json` what its watchdog has seen
 * - `PID.report.json` the report of its run
 */
const directory = realProcess.env.EXODOS_RUN
/** Set when the supervisor wants reports. */
const wantsReports = realProcess.env.EXODOS_RUN_REPORT !== undefined

export const isSupervised = directory !== undefined

/** What a program says of itself. */
export interface Announcement {
  readonly pid: number
  /** Of Linux, in clock ticks since boot: tells it from a later process with the same pid. */
  readonly startTime: string | undefined
  readonly argv: readonly string[]
  /** Where its inspector is, or will be after SIGUSR1; undefined where it can't be opened. */
  readonly inspector: { readonly port: number } | { readonly url: string } | undefined
}

let announced: Announcement | undefined

/** Says that the program is there, and keeps that true when it listens for SIGUSR1 itself. */
export function announce(): void {
  if (!isSupervised || announced) return
  announced = { pid: realProcess.pid, startTime: startTime(), argv: realProcess.argv, inspector: prepareInspector() }
  tell('json', JSON.stringify(announced))
  listenOnce('newListener', (event: string) => {
    if (event !== 'SIGUSR1' || !announced) return
    announced = { ...announced, inspector: undefined }
    tell('json', JSON.stringify(announced))
  })
}

/** Says that the run has begun, and how long it may take, in milliseconds. */
export function tellLeaving(grace: number): void {
  tell('leaving', JSON.stringify({ grace }))
}

/** Where the watchdog writes what it sees. */
export function noteFile(): string | undefined {
  return fileFor('hang.json')
}

/** Where the report goes, beside where the program itself wants it. */
export function reportFile(): string | undefined {
  return wantsReports ? fileFor('report.json') : undefined
}

function fileFor(kind: string): string | undefined {
  return isSupervised ? `${directory}/${realProcess.pid}.${kind}` : undefined
}

function tell(kind: string, text: string): void {
  const file = fileFor(kind)
  if (!file) return
  try {
    builtin<typeof import('node:fs')>('node:fs').writeFileSync(file, text)
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

/** The 22nd field of /proc/self/stat; the second may hold spaces and brackets. */
function startTime(): string | undefined {
  try {
    const text = builtin<typeof import('node:fs')>('node:fs').readFileSync('/proc/self/stat', 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
