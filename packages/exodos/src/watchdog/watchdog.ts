import { BEATS, COUNTED, LIMIT, STATE, STOPPED, viewOf, writeStep } from './memory.js'
import type { Stuck } from './stuck.js'
import { source } from './thread.js?source'

/** What the watchdog's thread is given. */
export interface ThreadData {
  readonly buffer: SharedArrayBuffer
  readonly pid: number
  /** After so many milliseconds without a beat the loop is said to be blocked. */
  readonly patience: number
  /** The file that exodos itself is in: its frames say nothing about a hang. */
  readonly ours: string | undefined
  /** A file for the supervisor. */
  readonly notes: string | undefined
}

/** What the watchdog tells the supervisor. */
export interface Hang extends Partial<Stuck> {
  readonly pid: number
  /** What the process was doing on its way out. */
  readonly step: string
  /** Milliseconds since the loop's last turn. */
  readonly blocked: number
  readonly killed: boolean
}

/** Watches one run, until it is told to stop. */
export interface Watchdog {
  /** The event loop has turned. */
  beat(): void
  /** What the process is doing, in the words that a hang will be reported in. */
  step(text: string): void
  /** The run is to be over so many milliseconds from its start. */
  limit(ms: number): void
  /** Milliseconds in which the process was surely running, whatever became of the loop. */
  counted(): number
  stop(): void
}

/**
 * Starts the thread. It holds neither the loop nor the process, gets neither environment nor options of it, and costs
 * the caller two milliseconds. Undefined where threads are not allowed (Node's permission model).
 */
export function startWatchdog(
  { Worker }: typeof import('node:worker_threads'),
  data: Omit<ThreadData, 'buffer'>,
): Watchdog | undefined {
  const memory = viewOf()
  const { numbers, buffer } = memory
  try {
    const thread = new Worker(source, {
      eval: true,
      name: 'exodos watchdog',
      env: {},
      execArgv: [],
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4, stackSizeMb: 1 },
      workerData: { ...data, buffer } satisfies ThreadData,
    })
    // Without it the process is unwatched, which is not the program's error.
    thread.on('error', () => {})
    thread.unref()
  } catch {
    return undefined
  }
  return {
    beat: () => void Atomics.add(numbers, BEATS, 1),
    step: (text) => writeStep(memory, text),
    limit: (ms) => void Atomics.store(numbers, LIMIT, Math.min(ms, 2 ** 31 - 1)),
    counted: () => Atomics.load(numbers, COUNTED),
    stop: () => void Atomics.store(numbers, STATE, STOPPED),
  }
}
