import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../core/deadline.js'
import { clock } from '../process/clock.js'
import { DEBOUNCE } from '../process/signals.js'
import type { Announcement } from '../process/supervised.js'
import { catches, commandOf, seen } from '../system/proc.js'
import type { Directory } from './directory.js'
import { type Found, freeLoop, isPaused } from './inspector.js'
import { leftovers } from './leftovers.js'
import { say, seconds } from './say.js'

export interface Limits {
  /** Milliseconds for the program's own shutdown. */
  readonly grace: number
  /** Set by the user; else a program that says it takes longer is given longer. */
  readonly isGraceFixed: boolean
  /** Milliseconds after that. */
  readonly killAfter: number
}

/** A blocked event loop, and what became of it. */
export interface Blocked extends Process {
  /** Milliseconds since the signal. */
  readonly after: number
  readonly where: 'javascript' | 'native'
  readonly stack: readonly string[]
  readonly freed: boolean
}

export interface Process {
  readonly pid: number
  readonly command: string
}

/** Milliseconds between two looks at what the programs say. */
const LOOK = 50
/** A loop whose turn takes no longer than this is never taken for blocked, however short the grace period is. */
const LEAST_PATIENCE = 250
/** What a signal to the whole group may have been seen by the program before we have heard of it. */
const HEARING = 1000
/** Signals that ask a program to end; the others may mean anything, and nothing is freed after them. */
export const ENDING: readonly string[] = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGBREAK']
/** For a debugger to say that it has paused the program, and no longer: time is up. */
const ANSWER = 250
/** Between two looks whether it goes on. */
const HELD = 1000
/** What is left behind may be about to end by itself. */
const LINGER = 250
/** For a process to be gone after SIGKILL. */
const DEATH = 2000

/**
 * The way out of a program that has been sent a signal: waits for its own shutdown, frees what is blocked, asks again
 * when the grace period is over, and kills what is still there at the end of the ladder.
 *
 * SIGTERM begins the ladder. After another signal it begins when a program says that it leaves, or is stuck: Ctrl-C in
 * an interpreter is no way out.
 */
export class Shutdown {
  readonly blocked: Blocked[] = []
  readonly killed: Process[] = []
  /** Resolves when something has outlived SIGKILL. */
  readonly hopeless: Promise<void>
  private readonly giveUp: () => void
  private readonly patience: number
  private grace: number
  /** Since the signal. */
  private budget: Budget | undefined
  private signalName: NodeJS.Signals = 'SIGTERM'
  /** In milliseconds since the epoch. */
  private signalAt = 0
  private wasToGroup = false
  /** When the ladder began, and when it ends at the latest, in milliseconds since the signal. */
  private ladder: number | undefined
  private forcedEnd = Number.POSITIVE_INFINITY
  /** Milliseconds in which the program stood at somebody's breakpoint, or was stopped. */
  private held = 0
  /** Since when it does, in milliseconds since the signal. */
  private heldSince: number | undefined
  private signals = 0
  private lastSignal = Number.NEGATIVE_INFINITY
  /** Who was sent a signal by us, and when, in milliseconds since the signal. */
  private readonly asked = new Map<number, number>()
  /** When to look into a program again, how long was waited for that, and how long one turn of its loop may take. */
  private readonly looks = new Map<number, { at: number; pause: number; patience: number }>()
  private readonly looking = new Set<number>()
  private hasAskedAll = false
  private isKilling = false
  private isOver = false

  constructor(
    private readonly child: ChildProcess,
    private readonly directory: Directory,
    private readonly limits: Limits,
  ) {
    let giveUp = () => {}
    this.hopeless = new Promise((resolve) => {
      giveUp = resolve
    })
    this.giveUp = giveUp
    this.grace = limits.grace
    this.patience = Math.max(LEAST_PATIENCE, new Budget(clock, limits.grace).reserve)
  }

  /** Passes the signal on, unless the program has been sent it as well, and sees to it that something comes of it. */
  signal(signal: NodeJS.Signals, toGroup: boolean): void {
    const now = clock.now()
    const isRepeat = now - this.lastSignal < DEBOUNCE
    this.lastSignal = now
    if (this.ladder === undefined) {
      this.begin(signal, toGroup)
      if (signal === 'SIGTERM') this.climb()
    } else if (!isRepeat) {
      this.signals++
      if (this.signals === 2) this.forcedEnd = this.spent + this.patience + this.limits.killAfter
      else this.kill()
    }
    if (toGroup) return
    for (const pid of this.hasEnded ? leftovers(this.directory.path) : [this.child.pid as number]) this.send(pid, signal)
  }

  /** What the ended program has left in its group is asked to end, unless it is leaving already. Resolves when all is gone. */
  async endLeftovers(): Promise<Process[]> {
    if (leftovers(this.directory.path).length > 0) await sleep(LINGER)
    const left = leftovers(this.directory.path)
    if (left.length === 0) return []
    if (this.ladder === undefined) this.begin('SIGTERM', false)
    this.climb()
    const unasked = left.filter((pid) => this.isUnasked(pid)).map(named)
    for (const { pid, command } of unasked) {
      say(`left behind: PID ${pid} (${command}): it is sent SIGTERM`)
      this.send(pid, 'SIGTERM')
    }
    const gone = (async () => {
      while (leftovers(this.directory.path).length > 0) await sleep(LOOK)
    })()
    await Promise.race([gone, this.hopeless])
    return unasked
  }

  stop(): void {
    this.isOver = true
  }

  private get spent(): number {
    return this.budget?.spent() ?? 0
  }

  private get hasEnded(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  private begin(signal: NodeJS.Signals, toGroup: boolean): void {
    const isFirst = this.budget === undefined
    this.budget = new Budget(clock, this.limits.grace)
    this.signalName = signal
    this.signalAt = Date.now() - (toGroup ? HEARING : 0)
    this.wasToGroup = toGroup
    this.signals = 1
    this.asked.clear()
    this.looks.clear()
    if (isFirst) this.watch()
  }

  /** From here on it ends, whatever happens. */
  private climb(): void {
    this.ladder ??= this.spent
  }

  private async watch(): Promise<void> {
    while (!this.isOver) {
      await sleep(LOOK)
      const now = this.budget?.beat() ?? 0
      const programs = this.directory.programs()
      for (const program of programs) this.attend(program, now)
      if (now >= this.patience) this.passOn(programs)
      if (this.ladder === undefined || this.isKilling) continue
      const graceEnd = this.ladder + this.grace + this.held
      if (now >= graceEnd) this.askAll()
      const end = Math.min(graceEnd + this.limits.killAfter, this.forcedEnd + this.held)
      const wasHeld = this.heldSince !== undefined
      if (!wasHeld && now < end) continue
      this.hold(await this.isHeld(programs))
      if (this.heldSince !== undefined) await sleep(HELD)
      else if (!wasHeld) this.kill()
    }
  }

  /** At a breakpoint, and while it is stopped, nobody is late. */
  private hold(isHeld: boolean): void {
    if (isHeld) this.heldSince ??= this.spent
    else if (this.heldSince !== undefined) {
      this.held += this.spent - this.heldSince
      this.heldSince = undefined
    }
  }

  private attend(program: Announcement, now: number): void {
    const grace = this.directory.leaving(program.pid)
    if (grace === undefined) {
      if (this.isDue(program, now)) this.look(program)
      return
    }
    this.climb()
    if (!this.limits.isGraceFixed) this.grace = Math.max(this.grace, grace)
  }

  /** Was it sent a signal to end that hasn't come to its JavaScript, although it has had the time? */
  private isDue({ pid, startTime }: Announcement, now: number): boolean {
    const askedAt = this.wasToGroup ? 0 : this.asked.get(pid)
    if (askedAt === undefined || !ENDING.includes(this.signalName) || this.hasSeen(pid) || this.looking.has(pid)) return false
    // Without /proc only our own child is surely what it was.
    const isKnown = startTime !== undefined || pid === this.child.pid
    const { at } = this.looks.get(pid) ?? { at: askedAt + this.patience }
    return isKnown && now >= at
  }

  private async look({ pid, inspector }: Announcement): Promise<void> {
    this.looking.add(pid)
    // The program has replaced itself by another, which SIGUSR1 would end: it stays on this list.
    if (inspector && 'port' in inspector && catches(pid, 'SIGUSR1') === false) return
    const command = commandOf(pid)
    const after = Math.round(this.spent)
    const open = () => void process.kill(pid, 'SIGUSR1')
    const mayFree = (stack: readonly string[]) => {
      if (this.isOver || this.hasSeen(pid) || this.directory.leaving(pid) !== undefined) return false
      say(`PID ${pid} (${command}): the event loop is blocked ${seconds(after)} after ${this.signalName}:${indented(stack)}`)
      return true
    }
    const before = this.looks.get(pid) ?? { pause: this.patience, patience: this.patience }
    const found = await this.find(() => inspector && freeLoop(pid, inspector, before.patience, open, mayFree))
    this.looking.delete(pid)
    if (this.isOver) return
    if (found.state === 'paused' || isStopped(pid)) this.hold(true)
    // What was blocked may be so again at once; a program that takes its time, or can't be looked into, is disturbed less and less.
    const isBlocked = found.state === 'blocked'
    const pause = isBlocked ? LOOK : 2 * before.pause
    this.looks.set(pid, { at: this.spent + pause, pause, patience: isBlocked ? 2 * LOOK : before.patience })
    if (isStopped(pid)) return
    if (found.state === 'blocked') {
      say(`PID ${pid} (${command}): ${found.freed ? 'it was freed, and goes on' : "it can't be freed"}`)
      this.blocked.push({ pid, command, after, where: 'javascript', stack: found.stack, freed: found.freed })
    } else if (found.state === 'unknown' && catches(pid, this.signalName) && !this.hasSeen(pid)) {
      this.climb()
      if (this.blocked.some((before) => before.pid === pid && before.where === 'native')) return
      const why = inspector ? 'in native code, by a call such as execSync' : "and its inspector can't be opened"
      say(`PID ${pid} (${command}): the event loop is blocked, ${why}: it can't be freed`)
      this.blocked.push({ pid, command, after, where: 'native', stack: [], freed: false })
    }
  }

  /** A shell that is sent SIGINT waits for its program and tells it nothing, as if a terminal had sent it to both. */
  private passOn(programs: readonly Announcement[]): void {
    if (this.signalName !== 'SIGINT' || this.wasToGroup) return
    const isShells = (pid: number) => !programs.some((program) => program.pid === seen(pid)?.parent)
    for (const { pid } of programs) if (this.isUnasked(pid) && isShells(pid)) this.send(pid, 'SIGINT')
  }

  /** The grace period is over: what nobody seems to have asked is asked, and has the rest of the ladder. */
  private askAll(): void {
    if (this.hasAskedAll) return
    this.hasAskedAll = true
    for (const { pid, command } of leftovers(this.directory.path)
      .filter((pid) => this.isUnasked(pid))
      .map(named)) {
      say(`PID ${pid} (${command}): still there after the grace period: it is sent SIGTERM`)
      this.send(pid, 'SIGTERM')
    }
  }

  private isUnasked(pid: number): boolean {
    return !this.asked.has(pid) && !this.hasSeen(pid) && this.directory.leaving(pid) === undefined
  }

  private hasSeen(pid: number): boolean {
    const seen = this.directory.seen(pid)
    return seen !== undefined && seen.at >= this.signalAt && ENDING.includes(seen.signal)
  }

  /** Nothing is found where there is no inspector, and nothing that fails is ours to report. */
  private async find(look: () => Promise<Found> | undefined): Promise<Found> {
    try {
      return (await look()) ?? { state: 'unknown' }
    } catch {
      return { state: 'unknown' }
    }
  }

  /** Never while somebody is debugging, or has stopped it. A program that is leaving says so itself. */
  private async isHeld(programs: Announcement[]): Promise<boolean> {
    if (isStopped(this.child.pid as number) || programs.some(({ pid }) => isStopped(pid))) return true
    if (this.directory.hangs().some(({ pid, where }) => where === 'debugger' && programs.some((program) => program.pid === pid)))
      return true
    const looks = programs
      .filter(({ pid }) => this.directory.leaving(pid) === undefined)
      .map(({ pid, inspector }) => inspector && isPaused(pid, inspector).catch(() => false))
    return Promise.race([Promise.all(looks).then((paused) => paused.includes(true)), sleep(ANSWER, false)])
  }

  private kill(): void {
    if (this.isKilling) return
    this.isKilling = true
    const targets = new Set(leftovers(this.directory.path))
    if (!this.hasEnded) targets.add(this.child.pid as number)
    for (const process of [...targets].map(named)) {
      this.killed.push(process)
      say(`PID ${process.pid} (${process.command}): killed, ${seconds(this.spent)} after ${this.signalName}`)
      this.send(process.pid, 'SIGKILL')
    }
    clock.wait(DEATH, () => {
      for (const pid of targets) if (isAlive(pid)) say(`PID ${pid} (${commandOf(pid)}) is still there`)
      this.giveUp()
    })
  }

  private send(pid: number, signal: NodeJS.Signals): void {
    this.asked.set(pid, this.spent)
    this.directory.pass(pid, signal)
    try {
      process.kill(pid, signal)
    } catch {
      // It has gone.
    }
  }
}

/** By SIGSTOP or Ctrl-Z, or by a debugger of the system. */
function isStopped(pid: number): boolean {
  return /^[Tt]$/.test(seen(pid)?.state ?? '')
}

/** A zombie isn't: it waits only for its parent to take note. */
function isAlive(pid: number): boolean {
  const process = seen(pid)
  return process !== undefined && process.state !== 'Z'
}

function indented(lines: readonly string[]): string {
  return lines.map((line) => `\n    ${line}`).join('')
}

function named(pid: number): Process {
  return { pid, command: commandOf(pid) }
}
