import type { ServerResponse } from 'node:http'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import type { HttpServer } from '../input/server.js'
import type { RequestSignals } from './signals.js'

/** How a connection is used just now. */
export type Use = 'fresh' | 'busy' | 'idle' | 'session' | 'webSocket' | 'upgraded'

/** One connection to a server, as far as a drain has to know it. While the server serves, a request costs two assignments. */
export class Connection {
  /** So far. */
  requests = 0
  /** Of the last request of HTTP/1. Responses leave in order: when this one is done, all are. */
  latest: ServerResponse | undefined
  session: ServerHttp2Session | undefined
  /** Of the session. */
  readonly streams = new Set<ServerHttp2Stream>()
  /** Taken over by somebody else, with a protocol of its own. */
  upgraded: 'webSocket' | 'upgraded' | undefined
  signals: RequestSignals[] = []
  /** The response that says `Connection: close` because of the drain. */
  marked: ServerResponse | undefined
  /** Its write side has been ended by the drain: what still comes is thrown away. */
  isLeaving = false
  /** When it was accepted, or its last answer was given. */
  private since = performance.now()
  /** Bytes read so far, and when they were last seen to grow without making a request. */
  private heard = -1
  private heardAt = 0

  constructor(
    public socket: Socket,
    readonly server: HttpServer,
  ) {}

  get use(): Use {
    if (this.upgraded) return this.upgraded
    if (this.session) return 'session'
    if (this.latest && !this.latest.closed && !this.latest.destroyed) return 'busy'
    return this.requests === 0 ? 'fresh' : 'idle'
  }

  /** Its response, whose head has been sent, is an event stream. `getHeader` doesn't know what was given to `writeHead`. */
  get isEventStream(): boolean {
    const { latest } = this
    const head = latest?.headersSent && (latest as { _header?: string })._header
    return typeof head === 'string' && /^content-type:\s*text\/event-stream/im.test(head)
  }

  /** Nothing is under way, and the drain has not closed it yet. */
  get isWaiting(): boolean {
    const { use, session } = this
    return (
      !this.isLeaving && (use === 'fresh' || use === 'idle' || (use === 'session' && this.requests === 0 && !session?.closed))
    )
  }

  /** Not all that was written has been taken by the client. */
  get hasUnsent(): boolean {
    return !this.socket.destroyed && (this.socket.writableLength > 0 || (this.isLeaving && !this.socket.writableFinished))
  }

  answered(): void {
    this.since = performance.now()
    this.heard = this.socket.bytesRead
  }

  /** Until when its client may begin a request in a drain that began at `begin`. Half a head begins the time anew. */
  mayAskUntil(begin: number, now: number, linger: number, firstRequest: number): number {
    const { bytesRead } = this.socket
    if (this.heard >= 0 && bytesRead !== this.heard) this.heardAt = now
    this.heard = bytesRead
    const since = Math.max(begin, this.since) + (this.requests === 0 ? firstRequest : linger)
    return Math.max(since, this.heardAt + firstRequest)
  }

  /**
   * Ends the write side when all is written, and reads on until the client has ended its own, but no longer than `ms` after
   * that: to close a socket that has unread input resets the connection, and the client may lose the answer that it hasn't
   * read yet.
   */
  leave(ms: number): void {
    if (this.isLeaving) return
    this.isLeaving = true
    const { socket } = this
    const wait = () => {
      if (ms === Number.POSITIVE_INFINITY || socket.destroyed) return
      const timer = setTimeout(() => socket.destroy(), ms)
      socket.once('close', () => clearTimeout(timer))
    }
    // What somebody still writes to it, or the client's reset, is nobody's business any more.
    socket.on('error', () => {})
    if (socket.writableFinished) wait()
    else socket.once('finish', wait)
    if (!socket.writableEnded) socket.end()
  }
}
