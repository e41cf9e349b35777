import { execFile } from 'node:child_process'
import { isMainThread } from 'node:worker_threads'

/** What leaving may take beyond the grace period, in milliseconds: the watchdog kills a second after it. */
export const MARGIN = 2000
/** Milliseconds that one message may take. */
const LIMIT = 1000

let queue: Promise<void> = Promise.resolve()
let warned = false

/**
 * Does systemd want to hear of this process? Children inherit the variable: a worker thread, and a process forked by
 * another one of Node's, would tell it of the end of the whole service.
 */
export function hasSystemd(): boolean {
  return Boolean(process.env.NOTIFY_SOCKET) && isMainThread && process.send === undefined
}

/**
 * Tells systemd, one message after another. Node has no datagram sockets of the Unix kind: the command
 * `systemd-notify` sends them. Never rejects; the first failure is a warning of the process.
 */
export function tellSystemd(message: readonly string[], limit = LIMIT): Promise<void> {
  queue = queue.then(() => send(message, Math.min(limit, LIMIT)))
  return queue
}

function send(message: readonly string[], limit: number): Promise<void> {
  return new Promise((resolve) => {
    const timeout = Math.max(1, Math.floor(limit))
    // The directory we were started in may be gone.
    execFile('systemd-notify', message, { cwd: '/', timeout, killSignal: 'SIGKILL' }, (error, _, stderr) => {
      if (error && !warned) {
        warned = true
        const why = error.killed ? `no end within ${timeout} ms` : stderr.trim() || error.message
        process.emitWarning(`systemd-notify ${message.join(' ')}: ${why}`, 'ExodosWarning')
      }
      resolve()
    })
  })
}
