import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { isPending } from '../system/proc.js'

/** For the other process to be seen dying, in milliseconds: the kernel sends to all of a group at the same moment. */
const DYING = 200
const LOOK = 5

/**
 * Tells a signal to the whole process group (Ctrl-C in a terminal) from one to us alone: a signal doesn't say who sent
 * it, so another process of the group, which does nothing, shows whether it was hit as well.
 */
export interface Group {
  wasHit(signal: NodeJS.Signals): Promise<boolean>
  stop(): void
}

/** Undefined without a terminal: then nobody but people with `kill` signals a group. */
export function watchGroup(): Group | undefined {
  if (![0, 1, 2].some(isatty) || process.platform === 'win32') return undefined
  let canary: ChildProcess | undefined
  /** Of those that were hit before. */
  const hits = new Map<string, number>()
  let stopped = false

  function start(): void {
    const next = spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'], env: { PATH: process.env.PATH } })
    canary = next
    next.once('error', () => {})
    next.once('exit', (_, signal) => {
      if (!signal || stopped) return
      hits.set(signal, performance.now())
      start()
    })
    next.unref()
  }

  start()
  return {
    async wasHit(signal) {
      const began = performance.now()
      while (performance.now() - began < DYING) {
        if ((hits.get(signal) ?? Number.NEGATIVE_INFINITY) > began - DYING) return hits.delete(signal)
        const pid = canary?.pid
        // Sent, and not yet died of.
        if (pid !== undefined && isPending(pid, signal)) {
          await once(canary as ChildProcess, 'exit')
          return hits.delete(signal)
        }
        await sleep(LOOK)
      }
      return false
    },
    stop() {
      stopped = true
      canary?.kill('SIGKILL')
    },
  }
}
