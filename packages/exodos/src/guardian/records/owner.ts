import { readFileSync, readlinkSync, statfsSync } from 'node:fs'
import { hostname } from 'node:os'
import { builtin } from '../../process/real.js'
import { type Seen, seen } from '../../system/proc.js'

type Threads = typeof import('node:worker_threads')

/** A thread that has records, described such that a later one with the same numbers is never taken for it. */
export interface Owner {
  readonly pid: number
  /** Of the process, in clock ticks since boot. Empty where /proc doesn't say. */
  readonly start: string
  /** Of a worker thread: the kernel's number of it, and its start time. Empty for the main thread. */
  readonly thread: string
  /** Of the kernel, since it was started; and of the machine: the first digits of each. */
  readonly boot: string
  readonly machine: string
  /** Of pids. */
  readonly namespace: string
}

/** The namespace that a machine begins with: all that share a kernel with it know its pids. */
const FIRST_NAMESPACE = '4026531836'

let own: Owner | undefined

export function thisOwner(): Owner {
  if (own) return own
  const boot = digits(read('/proc/sys/kernel/random/boot_id'))
  const { isMainThread } = builtin<Threads>('node:worker_threads')
  own = {
    pid: process.pid,
    start: seen(process.pid)?.startTime ?? '',
    thread: isMainThread ? '' : thisThread(),
    boot,
    machine: digits(boot === '' ? Buffer.from(hostname()).toString('hex') : read('/etc/machine-id')),
    namespace: namespace(),
  }
  return own
}

/** The name of an owner's directory tells all of it, so that nothing in there has to be believed. */
export function ownerName({ pid, start, thread, boot, machine, namespace }: Owner): string {
  return [pid, start, thread, boot, machine, namespace].join('.')
}

export function parseOwner(name: string): Owner | undefined {
  const match = /^(\d+)\.(\d*)\.(\d+-\d+|w\d+|)\.([0-9a-f]*)\.([0-9a-f]*)\.(\d*)$/.exec(name)
  if (!match) return undefined
  const [, pid, start = '', thread = '', boot = '', machine = '', namespace = ''] = match
  return { pid: Number(pid), start, thread, boot, machine, namespace }
}

export function isSameProcess(one: Owner, other: Owner): boolean {
  return (['pid', 'start', 'boot', 'machine', 'namespace'] as const).every((key) => one[key] === other[key])
}

/**
 * Is there no doubt that the thread, or its process, has ended? Never a guess: of another machine, or of a namespace that
 * can't be looked into, nothing is known; where it has a lease, that decides, see lease.ts. `place` is where we have
 * heard of it.
 */
export function isSurelyDead(owner: Owner, place: string): boolean {
  const here = thisOwner()
  if (owner.boot !== here.boot) return owner.boot !== '' && here.boot !== '' && isOfThisMachine(owner, place)
  if (owner.namespace !== here.namespace || (here.boot === '' && owner.machine !== here.machine)) return false
  try {
    const there = seen(owner.pid)
    if (!there || owner.start === '') return !there && !exists(owner.pid)
    if (there.startTime !== owner.start || hasEnded(there)) return true
    const [thread = '', start] = owner.thread.split('-')
    return start !== undefined && seen(owner.pid, Number(thread))?.startTime !== start
  } catch {
    return false
  }
}

/** The first thread can have ended before the others, which may be in the middle of something. */
const hasEnded = ({ state, threads }: Seen) => /^[ZX]$/.test(state) && threads <= 1

/**
 * Who has written to a disk of ours under another boot can't be running any more. To a file server others write, too, and
 * machines that were copied have the same id, but then it was asked for.
 */
function isOfThisMachine(owner: Owner, place: string): boolean {
  return isLocal(place) || (owner.machine !== '' && owner.machine === thisOwner().machine)
}

/** What Linux calls file systems that only one kernel writes to: ext, xfs, btrfs, tmpfs, overlay, f2fs, zfs. */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630, 0xf2f52010, 0x2fc12fc1]

function isLocal(place: string): boolean {
  try {
    return process.platform === 'linux' && LOCAL.includes(statfsSync(place).type)
  } catch {
    return false
  }
}

/** Is it of this kernel, and of a namespace of pids that we can't look into, as that of a container? */
export function isElsewhere(owner: Owner): boolean {
  const here = thisOwner()
  return owner.boot === here.boot && owner.namespace !== here.namespace
}

/** Is there somebody who might share our state directory, and can't see our pid? */
export function needsLease(): boolean {
  return thisOwner().namespace !== FIRST_NAMESPACE || process.env.EXODOS_STATE_DIR !== undefined
}

function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH'
  }
}

function thisThread(): string {
  try {
    const thread = /\d+$/.exec(readlinkSync('/proc/thread-self'))?.[0]
    const start = seen(process.pid, Number(thread))?.startTime
    if (start !== undefined) return `${thread}-${start}`
  } catch {
    // There is no /proc: the thread counts as alive as long as its process.
  }
  return `w${builtin<Threads>('node:worker_threads').threadId}`
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
