import type { Exit } from '../shared/errors.js'
import type { Birth, Message, Transferable } from '../shared/protocol.js'

/** What a worker is started with. */
export interface CarrierOptions {
  readonly name: string
  readonly env: NodeJS.ProcessEnv | undefined
  readonly execArgv: readonly string[] | undefined
  readonly resourceLimits: import('node:worker_threads').ResourceLimits | undefined
  /** What it prints: goes where that of this process goes, is read, or is thrown away. */
  readonly stdio: 'inherit' | 'pipe' | 'ignore'
}

/** What a carrier tells. */
export interface CarrierEvents {
  /** Returns whether others are to come soon: then they are looked for at once. */
  message(message: Message): boolean
  /** Once, last of all: it has ended. `error`: what nobody handled in it, or why it couldn't be started. */
  gone(exit: Exit, error?: unknown): void
  output(stream: 'stdout' | 'stderr', output: NodeJS.ReadableStream): void
}

/** Something that a worker lives in. It doesn't keep the event loop turning. */
export interface Carrier {
  /** As it is named in messages: `thread 3`, `process 1234`. */
  readonly label: string
  readonly pid: number | undefined
  readonly threadId: number | undefined
  /** Throws when the message can't be cloned; then nothing was sent. */
  post(message: Message, transfer: readonly Transferable[]): void
  /**
   * Takes back all tasks before `next` that have not been started, at once, and returns the first of them. Undefined where it
   * can't: then the worker is asked.
   */
  takeBack(next: number): number | undefined
  /** The task that is started next; undefined where nobody knows. */
  readonly started: number | undefined
  /** It has not answered when it was asked to leave, for so many milliseconds: it is to be killed. */
  readonly patience: number
  /** Ends it. What has hooks in a thread may call them even then. */
  kill(): void
  /** Where nothing can be waited for. */
  disposeSync(): void
}

/** Throws when its data can't be cloned. */
export type StartCarrier = (birth: Birth, options: CarrierOptions, events: CarrierEvents) => Carrier

/** For a worker that leaves, beyond its `dispose`. */
const MARGIN = 1000

/** What a worker's own exodos goes by: its time, and a report of its own. What the pool was told to set stays. */
export function environmentOf(given: NodeJS.ProcessEnv | undefined, { worker, disposeTimeout }: Birth): NodeJS.ProcessEnv {
  const { EXODOS_REPORT: report } = process.env
  const own = { EXODOS_GRACE: `${disposeTimeout + MARGIN}ms`, ...(report && { EXODOS_REPORT: `${report}.worker-${worker}` }) }
  return given ? { ...own, ...given } : { ...process.env, ...own }
}
