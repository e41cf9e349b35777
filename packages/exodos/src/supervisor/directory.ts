import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Report } from '../core/report.js'
import type { Announcement } from '../process/supervised.js'
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
  remove(): void
}

export function makeDirectory(): Directory {
  const path = makePath()
  const all = <T>(kind: string): T[] =>
    names(path)
      .filter((name) => /^\d+/.exec(name)?.[0] + kind === name)
      .map((name) => read<T>(join(path, name)))
      .filter((content) => content !== undefined)
  return {
    path,
    programs: () => all<Announcement>('.json').filter((program) => isThere(program, path)),
    seen: (pid) => read(join(path, `${pid}.seen`)),
    leaving: (pid) => read<{ grace: number }>(join(path, `${pid}.leaving`))?.grace,
    hangs: () => all('.hang.json'),
    reports: () => all('.report.json'),
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

/** Undefined for what isn't there, or is being written at this moment. */
function read<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
