import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Report } from '../core/report.js'
import type { Announcement } from '../process/supervised.js'
import type { Hang } from '../watchdog/watchdog.js'
import { hasInEnvironment, seen } from './proc.js'

/** The directory in which the programs of one `exodos run` say how they are, see `process/supervised.ts`. */
export interface Directory {
  readonly path: string
  /** The Node programs that are alive. */
  programs(): Announcement[]
  /** The grace period, in milliseconds, of a program whose run has begun. */
  leaving(pid: number): number | undefined
  /** What watchdogs have seen. */
  hangs(): Hang[]
  reports(): Report[]
  remove(): void
}

export function makeDirectory(): Directory {
  const path = mkdtempSync(join(tmpdir(), 'exodos-run-'))
  const all = <T>(kind: string): T[] =>
    readdirSync(path)
      .filter((name) => /^\d+/.exec(name)?.[0] + kind === name)
      .map((name) => read<T>(join(path, name)))
      .filter((content) => content !== undefined)
  return {
    path,
    programs: () => all<Announcement>('.json').filter((program) => isThere(program, path)),
    leaving: (pid) => read<{ grace: number }>(join(path, `${pid}.leaving`))?.grace,
    hangs: () => all('.hang.json'),
    reports: () => all('.report.json'),
    remove: () => rmSync(path, { recursive: true, force: true }),
  }
}

/** Never a later process with the same pid: SIGUSR1 would end it. */
function isThere({ pid, startTime }: Announcement, path: string): boolean {
  const process = seen(pid)
  return process?.startTime === startTime && process?.state !== 'Z' && (!process || hasInEnvironment(pid, cookie(path)))
}

/** What marks the processes of one `exodos run`, in their environment. */
export function cookie(path: string): string {
  return `EXODOS_RUN=${path}`
}

/** Undefined for what isn't there, or is being written at this moment. */
function read<T>(file: string): T | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}
