import type { ChildProcess, StdioOptions } from 'node:child_process'
import type { Readable } from 'node:stream'
import { setTimeout } from 'node:timers'
import { builtin } from '../../process/real.js'
import { LONGEST, type Look, look } from '../../system/looks.js'
import { sleepSync } from '../../system/sleep.js'
import { isListenedOn } from '../records/lease.js'

/** A program to be run; what it prints is thrown away. */
export interface Command {
  readonly argv: readonly string[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  /** Milliseconds, then SIGKILL for its group. */
  readonly timeout: number
  /** It writes to descriptor 3 why it has failed. */
  readonly says?: boolean
}

export interface CommandResult {
  readonly code: number | null
  readonly signal: string | null
  readonly timedOut: boolean
  readonly said?: string
  /** It could not be started. */
  readonly error?: Error
}

/**
 * What a step waits for: milliseconds, or until something happens that the event loop hears of; a program; or whether
 * somebody listens on a socket.
 */
export type Wait = Look | { readonly run: Command } | { readonly probe: string }

/** What it gets: of a program its end; of a socket undefined where that can't be known, as without an event loop. */
type Answer = CommandResult | boolean | undefined

/**
 * Work that yields what it waits for: whoever drives it decides how to wait, so that it can be done where the loop doesn't
 * turn.
 */
export type Steps<T> = Generator<Wait, T, Answer>

/** Thrown into steps that are to stop, so that they can put back what they have in their hands. */
const STOPPED = new Error('stopped')

/** Drives steps while the event loop turns; `isOver` stops them after the next wait, and rejects. */
export async function runSteps<T>(steps: Steps<T>, isOver: () => boolean = () => false): Promise<T> {
  let next = steps.next()
  while (!next.done) {
    const wait = next.value
    let result: Answer
    if ('run' in wait) result = await runCommand(wait.run)
    else if ('probe' in wait) result = await isListenedOn(wait.probe)
    else await look(wait)
    next = isOver() ? steps.throw(STOPPED) : steps.next(result)
  }
  return next.value
}

/** Drives steps while nothing else happens: in an 'exit' event the loop doesn't turn any more. */
export function runStepsSync<T>(steps: Steps<T>): T {
  let next = steps.next()
  while (!next.done) {
    const wait = next.value
    let result: Answer
    if ('run' in wait) result = runCommandSync(wait.run)
    else if ('sleep' in wait) sleepSync(wait.sleep)
    next = steps.next(result)
  }
  return next.value
}

const childProcess = () => builtin<typeof import('node:child_process')>('node:child_process')

function runCommand({ argv: [command = '', ...args], cwd, env, timeout, says = false }: Command): Promise<CommandResult> {
  return new Promise((resolve) => {
    let timedOut = false
    let child: ChildProcess
    try {
      // A group of its own, so that nothing of it outlives its time.
      child = childProcess().spawn(command, args, { cwd, env, stdio: stdioOf(says), detached: true })
    } catch (error) {
      resolve({ code: null, signal: null, timedOut, error: error as Error })
      return
    }
    const timer = setTimeout(
      () => {
        timedOut = true
        killGroup(child.pid)
      },
      Math.min(timeout, LONGEST),
    )
    child.once('error', (error) => {
      clearTimeout(timer)
      resolve({ code: null, signal: null, timedOut, error })
    })
    let said = ''
    const pipe = child.stdio[3] as Readable | null | undefined
    pipe?.on('data', (data) => {
      said += data
    })
    // Not before it has been read; without a pipe the two come together.
    child.once(says ? 'close' : 'exit', (code, signal) => {
      clearTimeout(timer)
      resolve({ code, signal, timedOut, said })
    })
  })
}

function runCommandSync({ argv: [command = '', ...args], cwd, env, timeout, says = false }: Command): CommandResult {
  const result = childProcess().spawnSync(command, args, {
    cwd,
    env,
    stdio: stdioOf(says),
    timeout: Math.min(timeout, LONGEST),
    killSignal: 'SIGKILL',
    detached: true,
  } as object)
  const timedOut = (result.error as NodeJS.ErrnoException | undefined)?.code === 'ETIMEDOUT'
  if (timedOut) killGroup(result.pid)
  const { status: code, signal, error } = result
  const said = String(result.output?.[3] ?? '')
  return { code, signal, timedOut, said, ...(error && !timedOut ? { error } : {}) }
}

const stdioOf = (says: boolean): StdioOptions => (says ? ['ignore', 'ignore', 'ignore', 'pipe'] : 'ignore')

function killGroup(pid: number | undefined): void {
  try {
    if (pid) process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}
