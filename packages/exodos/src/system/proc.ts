const fs = () => process.getBuiltinModule('node:fs')

let isOurs: boolean | undefined

/** Does /proc show this process by its own number? A sandbox with pids of its own may still have the /proc of the outside. */
export function hasProc(): boolean {
  if (isOurs === undefined) {
    try {
      isOurs = fs().readlinkSync('/proc/self') === String(process.pid)
    } catch (error) {
      throwUnknown(error)
      isOurs = false
    }
  }
  return isOurs
}

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
  /** The number of its terminal, 0 for none; and the process group that a key such as Ctrl-C is sent to there. */
  readonly terminal: number
  readonly foreground: number
}

/** Of a thread with its own number, if that is given. Undefined for what has gone, and on systems without /proc. */
export function seen(pid: number, thread?: number): Seen | undefined {
  const text = read(thread === undefined ? `/proc/${pid}/stat` : `/proc/${pid}/task/${thread}/stat`)
  if (!text) return undefined
  // The name comes second and may hold spaces and brackets.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ', 20)
  const number = (i: number) => Number(fields[i])
  return {
    pid,
    state: fields[0] as string,
    parent: number(1),
    group: number(2),
    session: number(3),
    terminal: number(4),
    foreground: number(5),
    threads: number(17),
    startTime: fields[19] as string,
  }
}

/** Running, or able to: of a zombie only the exit code is left. */
export function isAlive({ pid, startTime }: Pick<Seen, 'pid' | 'startTime'>): boolean {
  const now = seen(pid)
  return now !== undefined && now.startTime === startTime && !/[ZX]/.test(now.state)
}

/** What can't be looked at, as without descriptors to look with, is `otherwise`. */
export function orElse<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}

/** All that descend from a process, as long as those in between live: an orphan is a child of init. */
export function descendantsOf(pid: number): Seen[] {
  return childrenOf(pid).flatMap((child) => {
    const found = seen(child)
    return found ? [found, ...descendantsOf(child)] : []
  })
}

function childrenOf(pid: number): number[] {
  let threads: string[] = []
  try {
    threads = fs().readdirSync(`/proc/${pid}/task`)
  } catch (error) {
    throwUnknown(error)
  }
  const lists = threads.map((thread) => read(`/proc/${pid}/task/${thread}/children`) ?? '')
  return lists.flatMap((list) => list.split(' ').filter(Boolean).map(Number))
}

export function allSeen(): Seen[] {
  if (!hasProc()) return []
  let names: string[] = []
  try {
    names = fs().readdirSync('/proc')
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

export function ignores(pid: number, signal: NodeJS.Signals): boolean {
  return isInSet(pid, 'SigIgn', signal) === true
}

/** Was the process sent the signal, and hasn't come to it yet? */
export function isPending(pid: number, signal: NodeJS.Signals): boolean {
  return isInSet(pid, 'ShdPnd', signal) === true
}

/** Is it on its way out? A process of ours shows that, see below; of any other nothing is known, which counts as no. */
export function isLeaving(pid: number): boolean {
  return hasExodos(pid) && catches(pid, LEAVING) === true
}

/**
 * Who is on the way out listens for this signal, which does nothing by default: everybody who looks can see that, at once,
 * and nothing is left behind. Programs written in Go handle it, too, and nearly all others: by those they are told apart.
 */
export const LEAVING = 'SIGURG'

/**
 * Has the process hooks? Few others listen for these, and none for these alone. `exodos run` looks so as well; who has left
 * SIGPWR to the application doesn't.
 */
export function hasExodos(pid: number): boolean {
  return catches(pid, 'SIGSTKFLT') === true && catches(pid, 'SIGPWR') === true && catches(pid, 'SIGFPE') === false
}

function isInSet(pid: number, set: string, signal: NodeJS.Signals): boolean | undefined {
  const bits = new RegExp(`^${set}:\\s*([0-9a-f]+)`, 'm').exec(read(`/proc/${pid}/status`) ?? '')?.[1]
  const { signals } = process.getBuiltinModule('node:os').constants
  return bits === undefined ? undefined : ((BigInt(`0x${bits}`) >> BigInt(signals[signal] - 1)) & 1n) === 1n
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
  if (!hasProc()) return undefined
  try {
    return fs().readFileSync(file, 'utf8')
  } catch (error) {
    throwUnknown(error)
    return undefined
  }
}

function throwUnknown(error: unknown): void {
  if (/^(EMFILE|ENFILE|ENOMEM|EAGAIN|EIO)$/.test(String((error as NodeJS.ErrnoException).code))) throw error
}
