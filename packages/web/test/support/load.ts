import { setTimeout as wait } from 'node:timers/promises'
import { connect, type Wire, type WireOptions } from './wire.js'

/** What users have seen: how many answers, by status, and how many requests that got none. */
export interface Seen {
  [status: number]: number
  lost: number
}

/**
 * Users with one kept-alive connection each, who send a request, wait for the answer and think for a moment. None of them
 * repeats a request; after `Connection: close` they come back with a new connection. Resolves once `signal` is aborted and
 * the last answer is there.
 */
export async function users(
  count: number,
  request: string,
  port: number | (() => number | undefined),
  signal: AbortSignal,
  { think = 10, ...options }: WireOptions & { think?: number } = {},
): Promise<Seen> {
  const seen: Seen = { lost: 0 }
  const where = typeof port === 'number' ? () => port : port
  const one = async () => {
    let wire: Wire | undefined
    let asked = 0
    while (!signal.aborted) {
      const to = where()
      if (!wire && to === undefined) return
      try {
        wire ??= await connect(to as number, options)
        await wire.send(request)
        const answer = (await wire.answers(++asked)).at(-1)
        const status = answer?.status ?? 0
        seen[status] = (seen[status] ?? 0) + 1
        if (answer?.headers['connection'] === 'close') {
          await wire.closed
          wire = undefined
          asked = 0
        }
      } catch {
        seen.lost++
        wire?.socket.destroy()
        wire = undefined
        asked = 0
      }
      await wait(Math.random() * think)
    }
    wire?.socket.destroy()
  }
  await Promise.all(Array.from({ length: count }, one))
  return seen
}
