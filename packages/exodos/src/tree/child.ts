import type { ChildProcess } from 'node:child_process'
import type { Worker as ClusterWorker } from 'node:cluster'
import { readFileSync, rmSync } from 'node:fs'
import { theGuardian } from '../guardian/durable.js'
import { clock } from '../process/clock.js'
import { TREE } from '../process/family.js'
import { builtin, realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { hasExodos, isAlive, orElse, type Seen, seen } from '../system/proc.js'

/** What of a child process of Node's, or of one that looks like it, is needed. */
export type ChildLike = Pick<ChildProcess, 'exitCode' | 'signalCode'> & {
  readonly pid?: number | undefined
  kill(signal?: NodeJS.Signals): boolean
  once(event: string, listener: (...args: never[]) => void): unknown
  prependOnceListener?(event: string, listener: (...args: never[]) => void): unknown
}

export interface ChildSettings {
  readonly name: string | undefined
  readonly signal: NodeJS.Signals
  /** Milliseconds; undefined for what its place in the order allows. */
  readonly timeout: number | undefined
  /** With what descends from it. */
  readonly tree: boolean
  /** Nobody has asked for it: it is stopped as all children are. */
  readonly isAdopted: boolean
}

/** What is known of how a child was started; nothing if nobody looked. */
export interface Birth {
  /** In its environment, and in that of all who inherit it. */
  readonly mark?: string | undefined
  /** The number of a worker of the cluster. */
  readonly clusterId?: string | undefined
  /** Where it writes its own report to. */
  readonly report?: string | undefined
  /** A session of its own, and none of its streams leads to us. */
  readonly isDaemon?: boolean
  /** Should we be killed, all that carries our own mark is ended. */
  readonly isCovered?: boolean
}

export const ADOPTED: ChildSettings = { name: undefined, signal: 'SIGTERM', timeout: undefined, tree: true, isAdopted: true }

/** What a program is asked to end with, by name and by number. SIGHUP often means something else. */
const ENDING: readonly unknown[] = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGKILL', 15, 2, 3, 9]

const isDeno = realProcess.versions.deno !== undefined

interface Signals {
  /** When somebody else has sent it one to end, by the clock. */
  askedAt: number
}

const SIGNALS = Symbol.for('exodos.signals')

/** Takes note of what others send to a child: theirs and ours would be two, which for many programs means at once. */
export function noteSignals(process: ChildLike & { [SIGNALS]?: Signals }): Signals {
  if (process[SIGNALS]) return process[SIGNALS]
  const { kill } = process
  const signals: Signals = { askedAt: Number.NEGATIVE_INFINITY }
  const killByOthers = (signal?: NodeJS.Signals): boolean => {
    const isSent = kill.call(process, signal)
    if (isSent && ENDING.includes(signal ?? 'SIGTERM')) signals.askedAt = clock.now()
    return isSent
  }
  Object.defineProperty(process, SIGNALS, { value: signals })
  Object.defineProperty(process, 'kill', { value: killByOthers, configurable: true, writable: true })
  return signals
}

let isInExit = false

/** Are listeners of the 'exit' event being called of a child that ends because we leave? */
export const isInExitOfChild = () => isInExit

function noteExit(): void {
  isInExit = true
  realProcess.nextTick(() => {
    isInExit = false
  })
}

/** A child process that is to be stopped. */
export class Child {
  readonly pid: number
  /** Resolves when it has ended. */
  readonly ended: Promise<unknown>
  /** We have heard so. */
  hasEnded = false
  /** By the clock; undefined where nobody has told us. */
  endedAt: number | undefined
  /** A run has stopped it, with what it has left behind. */
  isStopped = false
  private looked = false
  private found: Seen | undefined
  private readonly forget: () => void
  private readonly signals: Signals

  constructor(
    readonly process: ChildLike,
    readonly settings: ChildSettings,
    readonly birth: Birth,
  ) {
    this.pid = process.pid as number
    this.ended = new Promise((resolve) => {
      const hear = (_code: unknown, signal: unknown) => {
        this.hasEnded = true
        this.endedAt = clock.now()
        // A terminal may have been faster than we.
        if (this.isStopped || (signal !== null && coordinator().state.exiting.signal.aborted)) noteExit()
        resolve(undefined)
      }
      // First in line: a listener of the program may throw.
      if (process.prependOnceListener) process.prependOnceListener('exit', hear)
      else process.once('exit', hear)
    })
    const needsNoRecord = settings.isAdopted && (birth.isDaemon || birth.isCovered)
    this.forget = needsNoRecord ? () => {} : this.remember()
    this.signals = noteSignals(process)
  }

  /** As the kernel shows it; looked up when it is needed, which for most is never. Node collects it not before its 'exit'. */
  get seen(): Seen | undefined {
    if (!this.looked && !this.hasEnded) {
      this.looked = true
      this.found = seen(this.pid)
    }
    return this.found
  }

  get startTime(): string | undefined {
    return this.seen?.startTime
  }

  /** It leads a process group of its own. */
  get isLeader(): boolean {
    return this.seen?.group === this.pid
  }

  /** When somebody else has sent it a signal to end, by the clock. */
  get askedAt(): number {
    return this.signals.askedAt
  }

  /** Not by its own `kill`, which others listen to; Node collects it not before we have heard, so its number is its own. */
  private send(signal: NodeJS.Signals): void {
    try {
      realProcess.kill(this.pid, signal)
      // One that is stopped couldn't hear it.
      if (orElse(() => seen(this.pid)?.state, '') === 'T') realProcess.kill(this.pid, 'SIGCONT')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code === 'EPERM') throw new Error(`PID ${this.pid} can't be stopped: it has become another user's`)
    }
  }

  /** A daemon, in the way that Node's documentation tells how to start one, and nobody has said that it is to be stopped. */
  get isOnItsOwn(): boolean {
    const { _handle } = this.process as { _handle?: { hasRef?(): boolean } | null }
    return this.settings.isAdopted && this.birth.isDaemon === true && _handle?.hasRef?.() === false
  }

  get cookie(): string | undefined {
    return this.birth.mark === undefined ? undefined : `${TREE}=${this.birth.mark}`
  }

  /** Also where the event loop doesn't tell. */
  isThere(isTurning: boolean): boolean {
    // The program may have taken our listener off.
    const { exitCode, signalCode } = this.process
    this.hasEnded ||= !isDeno && (exitCode !== null || signalCode !== null)
    if (this.hasEnded) return false
    if (isTurning) return true
    return orElse(() => this.startTime === undefined || isAlive({ pid: this.pid, startTime: this.startTime }), true)
  }

  /** Sends the signal; lets go of a worker of the cluster, which then closes its servers first. Says what it did. */
  ask(isAgain: boolean): string {
    const worker = this.clusterWorker()
    if (worker) {
      // Whoever starts a new one for each that has crashed doesn't for this one.
      worker.exitedAfterDisconnect = true
      if (!isAgain && worker.isConnected() && !hasExodos(this.pid)) {
        worker.disconnect()
        return 'disconnect'
      }
    }
    this.send(this.settings.signal)
    return this.settings.signal
  }

  kill(): void {
    this.send('SIGKILL')
  }

  /** It, and all of its tree that is to end, has ended: a guardian has nothing to do. */
  over(): void {
    this.forget()
  }

  /** How it has ended, where we have heard of it. */
  exit(): { exit?: { code: number } | { signal: string } } {
    const { exitCode: code, signalCode: signal } = this.process
    if (signal !== null) return { exit: { signal } }
    return code === null ? {} : { exit: { code } }
  }

  /** What it has reported itself; its file is taken away. */
  takeReport(): unknown {
    const { report } = this.birth
    if (report === undefined) return undefined
    try {
      const text = readFileSync(report, 'utf8')
      rmSync(report, { force: true })
      return JSON.parse(text)
    } catch {
      // It has none, as a program without exodos.
      return undefined
    }
  }

  private clusterWorker(): ClusterWorker | undefined {
    const { clusterId } = this.birth
    return clusterId === undefined
      ? undefined
      : builtin<typeof import('node:cluster').default>('node:cluster').workers?.[clusterId]
  }

  /** Written down, for when we are killed. */
  private remember(): () => void {
    const { pid, startTime, isLeader, cookie, settings } = this
    if (startTime === undefined || realProcess.platform !== 'linux') return () => {}
    // As long as we would have given it.
    const { signal, timeout = coordinator().state.policy.grace, tree } = settings
    try {
      const { records } = theGuardian()
      const id = records.add({
        kind: 'process',
        pid,
        start: startTime,
        group: isLeader && tree,
        signal,
        timeout,
        ...(tree && cookie !== undefined && { cookie }),
      })
      return () => records.remove(id)
    } catch {
      // A full disk: it is stopped as long as we live.
      return () => {}
    }
  }
}
