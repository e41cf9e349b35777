import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { seen } from '../system/proc.js'

/** A process that has records, described such that a later one with the same pid is never taken for it. */
export interface Owner {
  readonly pid: number
  /** Clock ticks since boot. Empty where /proc doesn't say. */
  readonly start: string
  /** Of the kernel, since it was started. */
  readonly boot: string
  readonly machine: string
  /** Of pids. */
  readonly namespace: string
  /** Differs for each process, and for each copy of a state directory. */
  readonly random: string
}

/** The namespace that a machine begins with: all that share a kernel with it know its pids. */
const FIRST_NAMESPACE = 'pid:[4026531836]'

let own: Owner | undefined

export function thisOwner(): Owner {
  own ??= {
    pid: process.pid,
    start: seen(process.pid)?.startTime ?? '',
    boot: read('/proc/sys/kernel/random/boot_id'),
    machine: read('/etc/machine-id'),
    namespace: namespace(),
    random: randomBytes(9).toString('base64url'),
  }
  return own
}

/**
 * Is there no doubt that the process has ended? Never a guess: of another machine, or of a namespace that can't be looked into, nothing
 * is known. `lease`, if it has one, then decides, see `isLeaseHeld`.
 */
export function isSurelyDead(owner: Owner): boolean {
  const here = thisOwner()
  if (owner.machine !== here.machine) return false
  if (owner.boot !== here.boot) return owner.boot !== '' && here.boot !== ''
  if (owner.namespace !== here.namespace) return false
  const process_ = seen(owner.pid)
  if (process_ && owner.start !== '') return process_.startTime !== owner.start || /^[ZX]$/.test(process_.state)
  // Without /proc a pid that is in use may be anybody's.
  return !process_ && !exists(owner.pid)
}

/** Can pids tell, for all who may share our state directory, that we are alive? Otherwise a lease has to. */
export function needsLease(): boolean {
  return thisOwner().namespace !== FIRST_NAMESPACE
}

/** Whether somebody listens on a lease: the kernel accepts for a process whose loop is blocked, too, as long as it lives. */
export function isLeaseHeld(path: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // EAGAIN: so many ask that somebody must be there.
    socket.once('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(code === 'ECONNREFUSED' ? false : code === 'EAGAIN' ? true : undefined),
    )
  })
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

function namespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid')
  } catch {
    return ''
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
