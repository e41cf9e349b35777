import { performance } from 'node:perf_hooks'
import type { DrainStats } from './stats.js'

/** Which progress somebody wants to see: `EXODOS_DEBUG=drain` for people, `EXODOS_DEBUG=drain-json` for programs. */
function wanted(): 'text' | 'json' | undefined {
  const topics = (process.env.EXODOS_DEBUG ?? '').split(',').map((topic) => topic.trim())
  if (topics.includes('drain-json')) return 'json'
  return topics.includes('drain') ? 'text' : undefined
}

/** Milliseconds between two lines that say the same, and between any. */
const AGAIN = 1000
const SOON = 200

/** Prints how a drain gets on, to stderr: at its begin and end, and meanwhile some times a second. */
export function progress(name: string, stats: () => DrainStats, left: () => number): (isLast?: boolean) => void {
  const form = wanted()
  if (form === undefined) return () => {}
  let last = ''
  let at = Number.NEGATIVE_INFINITY
  return (isLast = false) => {
    const since = performance.now() - at
    if (!isLast && since < SOON) return
    const now = stats()
    const said = describe(now)
    if (!isLast && said === last && since < AGAIN) return
    last = said
    at = performance.now()
    if (form === 'json') {
      process.stderr.write(`${JSON.stringify({ time: Date.now(), drain: name, ...now, left: Math.round(left()) })}\n`)
      return
    }
    const text = `exodos: ${name} ${said}, ${(left() / 1000).toFixed(1)} s left`
    // A terminal shows one line that changes.
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${text}${isLast ? '\n' : ''}`)
    else process.stderr.write(`${text}\n`)
  }
}

/** "draining: 3 requests, 12 idle, 1 WebSocket". */
export function describe(stats: DrainStats): string {
  const { state, requests, eventStreams, idle, webSockets, upgraded, sessions } = stats
  const parts = [
    [requests, 'request'],
    [eventStreams, 'event stream'],
    [idle, 'idle connection'],
    [webSockets, 'WebSocket'],
    [upgraded, 'upgraded connection'],
    [sessions, 'HTTP/2 session'],
  ] as const
  const open = parts.filter(([number]) => number > 0).map(([number, what]) => `${number} ${what}${number === 1 ? '' : 's'}`)
  return `${state}: ${open.join(', ') || 'nothing open'}`
}
