import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Report } from '../core/report.js'
import type { Announcement, ChildChange } from '../process/supervised.js'
import { environmentOf, seen } from '../system/proc.js'
import type { Hang } from '../watchdog/watchdog.js'
import { say } from './say.js'

/** The directory in which the programs of one `exodos run` say how they are, see `process/supervised.ts`. */
export interface Directory {
  readonly path: string
  /** The Node programs that are alive. */
  programs(): Announcement[]
  /** The signal that last reached the JavaScript of a program, and when, in milliseconds since the epoch. */
  seen(pid: number): { signal: string; at: number } | undefined
  /** The grace period, in milliseconds, of a program whose run has begun. */
  leaving(pid: number): number | undefined
  /** What watchdogs have seen. */
  hangs(): Hang[]
  reports(): Report[]
  /** The child processes and worker threads that programs have started. */
  children(): Child[]
  /** Tells a program that it alone is sent the signal. */
  pass(pid: number, signal: string): void
  remove(): void
}

/** A child process, or a worker thread, as the one that has started it saw it. */
export interface Child {
  pid: number
  /** Of a worker thread; then `pid` is that of its process. */
  thread?: number
  parent: number
  command: string
  /** Milliseconds since the epoch. */
  startedAt: number
  /** Absent for what has outlived the one that started it. */
  endedAt?: number
  exit?: { readonly code: number } | { readonly signal: string }
}

export function makeDirectory(): Directory {
  const path = makePath()
  const all = <T>(kind: string): T[] =>
    names(path)
      .filter((name) => /^\d+(\.\d+)?/.exec(name)?.[0] + kind === name)
      .map((name) => read<T>(join(path, name)))
      .filter((content) => content !== undefined)
  return {
    path,
    programs: () => all<Announcement>('.json').filter((program) => isThere(program, path)),
    seen: (pid) => read(join(path, `${pid}.seen`)),
    leaving: (pid) => read<{ grace: number }>(join(path, `${pid}.leaving`))?.grace,
    hangs: () => all('.hang.json'),
    reports: () => all('.report.json'),
    children: () => names(path).flatMap((name) => (/^\d+\.children$/.test(name) ? childrenIn(join(path, name)) : [])),
    pass(pid, signal) {
      try {
        writeFileSync(join(path, `${pid}.passed`), signal)
      } catch {
        // The directory has gone: the program decides by what it sees of the terminal.
      }
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}

/** Without a directory the program is run all the same, and its signals, its limits and its leftovers are seen to. */
function makePath(): string {
  const prefix = resolve(tmpdir(), 'exodos-run-')
  try {
    return mkdtempSync(prefix)
  } catch (error) {
    say(`blocked event loops can't be freed, and there are no reports: ${(error as Error).message}`)
    return `${prefix}${process.pid}-${Date.now()}`
  }
}

/** What a program under some `exodos run` says of itself. */
export function announcementOf(pid: number): Announcement | undefined {
  const path = environmentOf(pid, 'EXODOS_RUN')
  const program = path === undefined ? undefined : read<Announcement>(join(path, `${pid}.json`))
  return program?.startTime === seen(pid)?.startTime ? program : undefined
}

/** The marks of one `exodos run`, and of those that it runs in, in the environment of its processes. */
export const MARKS = 'EXODOS_RUN_MARKS'

export function isMarked(pid: number, path: string): boolean {
  return environmentOf(pid, MARKS)?.split(':').includes(path) === true
}

/** Never a later process with the same pid. */
function isThere({ pid, startTime }: Announcement, path: string): boolean {
  const process = seen(pid)
  return process?.startTime === startTime && process?.state !== 'Z' && (!process || isMarked(pid, path))
}

/** Empty when somebody has cleaned up the directory for temporary files. */
function names(path: string): string[] {
  try {
    return readdirSync(path)
  } catch {
    return []
  }
}

function childrenIn(file: string): Child[] {
  const children: Child[] = []
  for (const { pid, thread, parent, at, command, exit } of linesOf(file)) {
    const there = children.filter((child) => child.pid === pid && child.thread === thread && child.endedAt === undefined).at(-1)
    if (command !== undefined) children.push({ pid, ...(thread !== undefined && { thread }), parent, command, startedAt: at })
    else if (there) Object.assign(there, { endedAt: at, ...(exit && { exit }) })
  }
  return children
}

/** A disk that was full has torn some. */
function linesOf(file: string): ChildChange[] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          return JSON.parse(line) as ChildChange
        } catch {
          return []
        }
      })
  } catch {
    return []
  }
}

/** Undefined for what isn't there, or is being written at this moment. */
function read<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
