import { type ChildProcess, spawn } from 'node:child_process'
import { isatty } from 'node:tty'

/** The kernel delivers to all of a group at the same moment; this is for us to hear of it, in milliseconds. */
const HEARING = 100

/**
 * Tells a signal to the whole process group (Ctrl-C in a terminal) from one to us alone: a signal doesn't say who sent
 * it, so another process of the group, which does nothing, shows whether it was hit as well.
 */
export interface Group {
  wasHit(signal: string): Promise<boolean>
  stop(): void
}

/** Undefined without a terminal: then nobody but people with `kill` signals a group. */
export function watchGroup(): Group | undefined {
  if (![0, 1, 2].some(isatty) || process.platform === 'win32') return undefined
  let canary: ChildProcess | undefined
  let hit: Promise<string | null> = Promise.resolve(null)
  let stopped = false

  function start(): void {
    const next = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'], env: { PATH: process.env.PATH } })
    canary = next
    hit = new Promise((resolve) => {
      next.once('error', () => resolve(null))
      next.once('exit', (_, signal) => {
        resolve(signal)
        if (!stopped && signal) start()
      })
    })
    next.unref()
  }

  start()
  return {
    async wasHit(signal) {
      const late = new Promise<null>((resolve) => setTimeout(resolve, HEARING, null))
      return (await Promise.race([hit, late])) === signal
    },
    stop() {
      stopped = true
      canary?.kill('SIGKILL')
    },
  }
}
