import type { Connection } from './connection.js'

/** What a server is doing, and what became of its requests once it drains. */
export interface DrainStats {
  /** `announcing` in the readiness window. */
  state: 'serving' | 'announcing' | 'draining' | 'drained'
  /** Open connections, of all kinds. */
  connections: number
  /** Requests under way, event streams among them. */
  requests: number
  /** Connections without a request: those that have had one, and those that haven't yet. */
  idle: number
  eventStreams: number
  webSockets: number
  /** Connections that somebody has taken over by 'upgrade' or 'connect', but for WebSockets. */
  upgraded: number
  /** Sessions of HTTP/2. */
  sessions: number
  /** Since the drain began: requests whose answers have been given. */
  answered: number
  /** Since the drain began: requests that came on a connection that was closed already, which nobody has answered or begun. */
  tooLate: number
  /** Requests, and connections, that the deadline has cut. */
  cut: { requests: number; connections: number }
  /** Milliseconds that the drain has taken so far. */
  duration: number
}

/** Counts the connections by what they are used for. */
export function count(connections: Iterable<Connection>) {
  const counts = { connections: 0, requests: 0, idle: 0, eventStreams: 0, webSockets: 0, upgraded: 0, sessions: 0 }
  for (const connection of connections) {
    counts.connections++
    switch (connection.use) {
      case 'upgrading':
      case 'busy':
        counts.requests++
        if (connection.isEventStream) counts.eventStreams++
        break
      case 'session':
        counts.sessions++
        counts.requests += connection.streams.size
        break
      case 'webSocket':
        counts.webSockets++
        break
      case 'upgraded':
        counts.upgraded++
        break
      default:
        counts.idle++
    }
  }
  return counts
}
