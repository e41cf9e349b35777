import { randomBytes } from 'node:crypto'
import { readFileSync, readlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { seen } from '../system/proc.js'

/** A process that has records, described such that a later one with the same pid is never taken for it. */
export interface Owner {
  readonly pid: number
  /** Clock ticks since boot. Empty where /proc doesn't say. */
  readonly start: string
  /** Of the kernel, since it was started; and of the machine: the first digits of each. */
  readonly boot: string
  readonly machine: string
  /** Of pids. */
  readonly namespace: string
  /** Differs for each process. */
  readonly random: string
}

/** The namespace that a machine begins with: all that share a kernel with it know its pids. */
const FIRST_NAMESPACE = '4026531836'

let own: Owner | undefined

export function thisOwner(): Owner {
  own ??= {
    pid: process.pid,
    start: seen(process.pid)?.startTime ?? '',
    boot: digits(read('/proc/sys/kernel/random/boot_id')),
    machine: digits(read('/etc/machine-id')),
    namespace: namespace(),
    random: randomBytes(9).toString('base64url'),
  }
  return own
}

/** The name of an owner's directory tells all of it, so that nothing in there has to be believed. */
export function ownerName({ pid, start, boot, machine, namespace }: Owner): string {
  return [pid, start, boot, machine, namespace].join('.')
}

export function parseOwner(name: string): Owner | undefined {
  const match = /^(\d+)\.(\d*)\.([0-9a-f]*)\.([0-9a-f]*)\.(\d*)$/.exec(name)
  if (!match) return undefined
  const [, pid, start = '', boot = '', machine = '', namespace = ''] = match
  return { pid: Number(pid), start, boot, machine, namespace, random: '' }
}

/**
 * Is there no doubt that the process has ended? Never a guess: of another machine, or of a namespace that can't be looked
 * into, nothing is known; where it has a lease, that decides, see `isLeaseHeld`.
 */
export function isSurelyDead(owner: Owner): boolean {
  const here = thisOwner()
  if (owner.machine !== here.machine) return false
  if (owner.boot !== here.boot) return owner.boot !== '' && here.boot !== ''
  if (owner.namespace !== here.namespace) return false
  const there = seen(owner.pid)
  if (there && owner.start !== '') return there.startTime !== owner.start || /^[ZX]$/.test(there.state)
  // Without /proc a pid that is in use may be anybody's.
  return !there && !exists(owner.pid)
}

/** Is it of this machine, and of a namespace of pids that we can't look into? */
export function isElsewhere(owner: Owner): boolean {
  const here = thisOwner()
  return owner.machine === here.machine && owner.boot === here.boot && owner.namespace !== here.namespace
}

/** Is there somebody who might share our state directory, and can't see our pid? */
export function needsLease(): boolean {
  return thisOwner().namespace !== FIRST_NAMESPACE || process.env.EXODOS_STATE_DIR !== undefined
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
    return readlinkSync('/proc/self/ns/pid').replace(/\D/g, '')
  } catch {
    return ''
  }
}

const digits = (id: string) => id.replaceAll('-', '').toLowerCase().slice(0, 16)

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}
