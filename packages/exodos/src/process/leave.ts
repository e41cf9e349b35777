import { clock, ifStillAlive } from './clock.js'
import { inRootContext } from './context.js'
import type { Outcome } from './coordinator.js'
import { flushOutput, hasPendingOutput } from './output.js'
import { isExiting, realProcess } from './real.js'

/** What leaving needs of the triggers: each knows how its own way out is completed. */
export interface Exits {
  exit(code: number): void
  reallyExit(code: number): void
  raise(signal: string, code: number): void
  print(error: unknown): void
  /** Lets Node end this thread for an error, past our own wrapper. */
  rethrow(error: unknown): void
}

/** The last step: writes out what is still to be written, then lets the process end the way it was to end. */
export function leave(outcome: Outcome, limit: number, exits: Exits, survived: () => void): void {
  if (outcome.kind === 'natural') {
    // Nothing is called: the loop runs dry, Node writes what is pending, and an unsettled top-level await is reported.
    if (outcome.raised) realProcess.exitCode = outcome.code
    ifStillAlive(limit, () => exits.exit(Number(realProcess.exitCode ?? outcome.code)))
    return
  }
  const last = () => end(outcome, exits, survived)
  if (hasPendingOutput()) inRootContext(() => flushOutput(limit, last))
  else last()
}

function end(outcome: Outcome, exits: Exits, survived: () => void): void {
  // Not before those who listen for the signal after us have heard it, too.
  if (outcome.signal) realProcess.nextTick(() => exits.raise(outcome.signal as string, outcome.code))
  else if ('error' in outcome && isWorker()) clock.soon(() => exits.rethrow(outcome.error))
  else {
    try {
      exits.exit(outcome.code)
    } catch (error) {
      if (!isExiting()) throw error
      // A listener of 'exit' has thrown: with the loop turning, nothing else would end the process now.
      exits.print(error)
      exits.reallyExit(outcome.code || 1)
    } finally {
      survived()
    }
  }
}

/** In a worker thread the main thread is to see the error itself, in its 'error' event. */
export function isWorker(): boolean {
  return (realProcess.chdir as { disabled?: boolean }).disabled === true
}
