import { clock } from './clock.js'
import { builtin, realProcess } from './real.js'

const fs = () => builtin<typeof import('node:fs')>('node:fs')

/** Writes to stderr at once, past any stream; a closed, full or broken stderr is nobody's problem on the way out. */
export function writeError(text: string): void {
  const data = Buffer.from(text)
  try {
    for (let from = 0, tries = 0; from < data.length && tries < 100; tries++) {
      try {
        from += fs().writeSync(2, data, from)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
        // A slow reader of a non-blocking pipe: a nap of 5 ms, at most 100 of them.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5)
      }
    }
  } catch {}
}

/** Writes the report to its file; failing to is told on stderr and changes nothing else. */
export function writeReport(file: string, text: string): void {
  try {
    const { closeSync, constants, openSync, writeFileSync } = fs()
    const { O_WRONLY, O_CREAT, O_TRUNC, O_NONBLOCK = 0 } = constants
    // Non-blocking: a pipe that nobody reads must not hold the process.
    const descriptor = openSync(file, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK)
    try {
      writeFileSync(descriptor, text)
    } finally {
      closeSync(descriptor)
    }
  } catch (error) {
    writeError(`exodos: the report could not be written: ${error}\n`)
  }
}

/** Is there output that Node would lose if the process ended now? */
export function hasPendingOutput(): boolean {
  // Streams are made when they are first looked at, which costs a millisecond: first ask whether anything is being written.
  const info = realProcess.getActiveResourcesInfo?.()
  if (info && !info.some((name) => /Write|Shutdown|^FSReq/.test(name))) return false
  return [realProcess.stdout, realProcess.stderr].some(isPending) || isGoingToFile()
}

/** Calls back once stdout and stderr are written, or after `limit` milliseconds. */
export function flushOutput(limit: number, done: () => void): void {
  const streams = [realProcess.stdout, realProcess.stderr].filter(isPending)
  let left = streams.length
  const cancel = clock.wait(limit, () => finish())
  const finish = () => {
    left = Number.NaN
    cancel()
    done()
  }
  const one = () => {
    if (--left === 0) finish()
  }
  for (const stream of streams) {
    let open = true
    const once = () => {
      if (open) one()
      open = false
    }
    // A reader that has gone: EPIPE, an error nobody is interested in any more.
    stream.on('error', once)
    stream.write('', once)
  }
  if (isGoingToFile()) {
    left++
    const look = () => (isGoingToFile() ? clock.wait(LOOK, look) : one())
    look()
  }
  if (left === 0) finish()
}

/** Milliseconds. */
const LOOK = 5

/** Process managers such as PM2 put a function of their own in the place of `write`, which writes to a file: Node knows of no stream then. */
function isGoingToFile(): boolean {
  const isOwn = [realProcess.stdout, realProcess.stderr].some((stream) => Object.hasOwn(stream, 'write'))
  return isOwn && realProcess.getActiveResourcesInfo?.().includes('FSReqCallback') === true
}

function isPending(stream: NodeJS.WriteStream): boolean {
  try {
    return stream.writable && stream.writableLength > 0
  } catch {
    return false
  }
}
