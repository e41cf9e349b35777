import { readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'

/** A process as Linux shows it under /proc. */
export interface Seen {
  readonly pid: number
  readonly parent: number
  readonly group: number
  readonly session: number
  readonly state: string
  /** Clock ticks since boot: tells a process from a later one with the same pid. */
  readonly startTime: string
  /** Those that still run: others may be at work when the first one has ended. */
  readonly threads: number
}

/** Of a thread with its own number, if that is given. Undefined for what has gone, and on systems without /proc. */
export function seen(pid: number, thread?: number): Seen | undefined {
  const text = read(thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`)
  if (!text) return undefined
  // The name comes second and may hold spaces and brackets.
  const [state = '', parent, group, session, ...rest] = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const [threads, startTime] = [Number(rest[13]), rest[15] as string]
  return { pid, parent: Number(parent), group: Number(group), session: Number(session), state, startTime, threads }
}

export function allSeen(): Seen[] {
  let names: string[] = []
  try {
    names = readdirSync('/proc')
  } catch (error) {
    throwUnknown(error)
  }
  const pids = names.filter((name) => /^\d+$/.test(name))
  return pids.map((pid) => seen(Number(pid))).filter((process) => process !== undefined)
}

/** Has the process a handler for the signal? Undefined where that can't be known. */
export function catches(pid: number, signal: NodeJS.Signals): boolean | undefined {
  return isInSet(pid, 'SigCgt', signal)
}

/** Was the process sent the signal, and hasn't come to it yet? */
export function isPending(pid: number, signal: NodeJS.Signals): boolean {
  return isInSet(pid, 'ShdPnd', signal) === true
}

function isInSet(pid: number, set: string, signal: NodeJS.Signals): boolean | undefined {
  const bits = new RegExp(`^${set}:\\s*([0-9a-f]+)`, 'm').exec(read(`/proc/${pid}/status`) ?? '')?.[1]
  return bits === undefined ? undefined : ((BigInt(`0x${bits}`) >> BigInt(constants.signals[signal] - 1)) & 1n) === 1n
}

/** Whose process it is. */
export function userOf(pid: number): number | undefined {
  const uid = /^Uid:\s*(\d+)/m.exec(read(`/proc/${pid}/status`) ?? '')?.[1]
  return uid === undefined ? undefined : Number(uid)
}

/** An entry of the environment that the process was started with. */
export function environmentOf(pid: number, name: string): string | undefined {
  const entries = read(`/proc/${pid}/environ`)?.split('\0')
  return entries?.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1)
}

export function commandOf(pid: number): string {
  return read(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim() || `process ${pid}`
}

/** Undefined where it isn't there, or not for us. That there is no descriptor left says nothing, and is thrown. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throwUnknown(error)
    return undefined
  }
}

function throwUnknown(error: unknown): void {
  if (/^(EMFILE|ENFILE|ENOMEM|EAGAIN|EIO)$/.test(String((error as NodeJS.ErrnoException).code))) throw error
}
