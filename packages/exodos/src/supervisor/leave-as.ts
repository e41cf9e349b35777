import { constants } from 'node:os'

/** How a program ended, as its parent saw it. */
export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** Ends this process as the program has ended: with its code, or by its signal; as PID 1, which no signal ends, with 128 + n. */
export function leaveAs({ code, signal }: Ended): void {
  if (!signal) return void process.exit(code ?? 1)
  const status = 128 + constants.signals[signal]
  if (process.pid === 1) process.exit(status)
  resetToDefault(signal)
  process.kill(process.pid, signal)
  // Node's own handler for SIGSEGV takes itself off the first time.
  setImmediate(() => process.kill(process.pid, signal))
  // Where it doesn't end us: a parent that ignores signals has handed that on to us.
  setTimeout(() => process.exit(status), 100)
}

/** Node ignores SIGPIPE and has a handler for SIGUSR1: a listener that comes and goes leaves what the system would do. */
function resetToDefault(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal)
  try {
    process.on(signal, () => {})
    process.removeAllListeners(signal)
  } catch {
    // SIGKILL and a few others can't be listened for.
  }
}
