import type { ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { Budget } from '../core/deadline.js'
import { clock } from '../process/clock.js'
import { DEBOUNCE } from '../process/signals.js'
import type { Announcement } from '../process/supervised.js'
import type { Directory } from './directory.js'
import { freeLoop, isPaused } from './inspector.js'
import { leftovers } from './leftovers.js'
import { commandOf, seen } from './proc.js'
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
export interface Blocked {
  readonly pid: number
  readonly command: string
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
/** Signals that ask a program to end; the others may mean anything, and nothing is freed after them. */
const ENDING = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGBREAK']
/** For a process to be gone after SIGKILL. */
const DEATH = 2000

/**
 * The way out of a program that has been sent a signal: waits for its own shutdown, frees what is blocked, and kills
 * what is still there at the end of the ladder.
 *
 * SIGTERM begins the ladder. After another signal it begins when a program says that it leaves, or can't be freed:
 * Ctrl-C in an interpreter is no way out.
 */
export class Shutdown {
  readonly blocked: Blocked[] = []
  readonly killed: Process[] = []
  /** Resolves when something has outlived SIGKILL. */
  readonly hopeless: Promise<void>
  private readonly giveUp: () => void
  private readonly patience: number
  private isOnLadder = false
  private grace: number
  /** Since the first signal of this shutdown. */
  private budget: Budget | undefined
  private forcedEnd = Number.POSITIVE_INFINITY
  /** Milliseconds at somebody's breakpoint. */
  private held = 0
  private signals = 0
  private lastSignal = Number.NEGATIVE_INFINITY
  private mayLook = false
  private wasToGroup = false
  private readonly asked = new Set<number>()
  private readonly looking = new Set<number>()
  /** When to look into a program again, and how long to wait after that. */
  private readonly looks = new Map<number, { at: number; pause: number }>()
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
    if (!this.isOnLadder) {
      this.begin()
      this.signals = 1
      this.isOnLadder = signal === 'SIGTERM'
      this.mayLook = ENDING.includes(signal)
      this.wasToGroup = toGroup
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
    const left = leftovers(this.directory.path)
    if (left.length === 0) return []
    const asked = left.filter((pid) => !this.asked.has(pid) && this.directory.leaving(pid) === undefined).map(named)
    if (!this.isOnLadder) this.begin()
    this.isOnLadder = this.mayLook = true
    for (const { pid, command } of asked) {
      say(`left behind: PID ${pid} (${command}): it is sent SIGTERM`)
      this.send(pid, 'SIGTERM')
    }
    const gone = (async () => {
      while (leftovers(this.directory.path).length > 0) await sleep(LOOK)
    })()
    await Promise.race([gone, this.hopeless])
    return asked
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

  private get end(): number {
    return Math.min(this.grace + this.limits.killAfter, this.forcedEnd) + this.held
  }

  private begin(): void {
    const isFirst = this.budget === undefined
    this.budget = new Budget(clock, this.limits.grace)
    this.looks.clear()
    if (isFirst) this.watch()
  }

  private async watch(): Promise<void> {
    while (!this.isOver) {
      await sleep(LOOK)
      const now = this.budget?.beat() ?? 0
      const programs = this.directory.programs()
      for (const program of programs) this.look(program, now)
      if (!this.isOnLadder || now < this.end || this.isKilling) continue
      if (await this.isHeld(programs)) this.held += this.spent - this.end + this.patience
      else this.kill()
    }
  }

  /** Looks into a program that should be leaving and doesn't say so. */
  private async look({ pid, startTime, inspector }: Announcement, now: number): Promise<void> {
    const grace = this.directory.leaving(pid)
    if (grace !== undefined) {
      this.isOnLadder = true
      if (!this.limits.isGraceFixed) this.grace = Math.max(this.grace, grace)
      return
    }
    // What was sent the signal by somebody in between, npm for one, can't be told from what wasn't.
    const isAsked = this.wasToGroup || pid === this.child.pid || this.asked.has(pid)
    const { at, pause } = this.looks.get(pid) ?? { at: isAsked ? this.patience : this.limits.grace / 2, pause: this.patience }
    // Without /proc only our own child is surely what it was.
    const isKnown = startTime !== undefined || pid === this.child.pid
    if (!this.mayLook || !isKnown || !inspector || this.looking.has(pid) || now < at) return
    this.looking.add(pid)
    const after = Math.round(this.spent)
    const mayFree = ({ stack }: { stack: readonly string[] }) => {
      if (this.isOver || this.directory.leaving(pid) !== undefined) return false
      say(`PID ${pid} (${commandOf(pid)}): the event loop is blocked ${seconds(after)} after the signal:${indented(stack)}`)
      return true
    }
    const found = await freeLoop(pid, inspector, this.patience, () => process.kill(pid, 'SIGUSR1'), mayFree).catch(
      () => undefined,
    )
    const isBlocked = found?.state === 'blocked'
    // A program that takes its time, with a loop that turns, is disturbed less and less.
    const next = isBlocked ? this.patience : 2 * pause
    this.looks.set(pid, { at: this.spent + next, pause: next })
    this.looking.delete(pid)
    if (isBlocked && !this.isOver) this.note(pid, after, found)
  }

  private note(pid: number, after: number, { where, stack, freed }: Pick<Blocked, 'where' | 'stack' | 'freed'>): void {
    // Found stuck in native code again and again, it is told once.
    if (where === 'native' && this.blocked.some((before) => before.pid === pid && before.where === where)) return
    const what = where === 'native' ? 'the event loop is blocked in native code (a blocking call, such as execSync): ' : ''
    say(`PID ${pid} (${commandOf(pid)}): ${what}${freed ? 'it was freed, and goes on' : "it can't be freed"}`)
    this.blocked.push({ ...named(pid), after, where, stack, freed })
    if (!freed) this.isOnLadder = true
  }

  /** Never while somebody is debugging. */
  private async isHeld(programs: Announcement[]): Promise<boolean> {
    const places = programs.map(({ inspector }) => inspector).filter((place) => place !== undefined)
    const paused = await Promise.all(places.map((place) => isPaused(place).catch(() => false)))
    return paused.includes(true)
  }

  private kill(): void {
    if (this.isKilling) return
    this.isKilling = true
    const targets = new Set(leftovers(this.directory.path))
    if (!this.hasEnded) targets.add(this.child.pid as number)
    for (const process of [...targets].map(named)) {
      this.killed.push(process)
      say(`PID ${process.pid} (${process.command}): killed, ${seconds(this.spent)} after the signal`)
      this.send(process.pid, 'SIGKILL')
    }
    clock.wait(DEATH, () => {
      for (const pid of targets) if (isAlive(pid)) say(`PID ${pid} (${commandOf(pid)}) is still there`)
      this.giveUp()
    })
  }

  private send(pid: number, signal: NodeJS.Signals): void {
    this.asked.add(pid)
    try {
      process.kill(pid, signal)
    } catch {
      // It has gone.
    }
  }
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
