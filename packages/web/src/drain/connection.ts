import type { ServerResponse } from 'node:http'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import type { HttpServer } from '../input/server.js'
import type { RequestSignals } from './signals.js'

/** How a connection is used just now. */
export type Use = 'fresh' | 'busy' | 'idle' | 'session' | 'upgrading' | 'webSocket' | 'upgraded'

/** A stream of HTTP/2 that somebody tunnels through: CONNECT, or a WebSocket (RFC 8441). */
export type Tunnel = 'webSocket' | 'upgraded'

/** One connection to a server, as far as a drain has to know it. */
export class Connection {
  /** So far. */
  requests = 0
  session: ServerHttp2Session | undefined
  /** Of the session. */
  readonly streams = new Map<ServerHttp2Stream, Tunnel | undefined>()
  readonly signals = new Set<RequestSignals>()
  /** The response that says `Connection: close` because of the drain. */
  marked: ServerResponse | undefined
  /** Its write side has been ended by the drain: what still comes is thrown away. */
  isLeaving = false
  /** Of the last request of HTTP/1. Weak: Node lets go of a response that is over, and of all that hangs on it. */
  private response: WeakRef<ServerResponse> | undefined
  /** Somebody else has it, with a protocol of its own, once more than so many bytes are written. */
  private upgraded: Tunnel | undefined
  private writtenBefore = 0
  private held: (() => void)[] = []
  /** When it was accepted, or its last answer was given. */
  private since = performance.now()
  /** Bytes read so far, and when they were last seen to grow without making a request. */
  private heard = -1
  private heardAt = Number.NEGATIVE_INFINITY

  constructor(
    public socket: Socket,
    readonly server: HttpServer,
    /** It is closed, or another server's. */
    readonly forget: () => void,
  ) {}

  /** Responses leave in order: when the latest one is done, all are. */
  get latest(): ServerResponse | undefined {
    return this.response?.deref()
  }

  get use(): Use {
    if (this.upgraded) return this.socket.bytesWritten > this.writtenBefore ? this.upgraded : 'upgrading'
    if (this.session) return 'session'
    const { latest } = this
    if (latest && !latest.closed && !latest.destroyed) return 'busy'
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

  begin(response: ServerResponse): void {
    this.requests++
    this.response = new WeakRef(response)
  }

  beginStream(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
    this.requests++
    const isTunnel = headers[':method'] === 'CONNECT'
    this.streams.set(stream, isTunnel ? (headers[':protocol'] === 'websocket' ? 'webSocket' : 'upgraded') : undefined)
    stream.once('close', () => this.streams.delete(stream))
  }

  /** By 'upgrade' or 'connect'. Until something is written it is a request under way. */
  takenOver(by: Tunnel): void {
    this.requests++
    this.upgraded = by
    this.writtenBefore = this.socket.bytesWritten
  }

  /** Keeps a request back until all that came in its packet has been read. */
  hold(handOn: () => void): void {
    if (this.held.length === 0) process.nextTick(() => this.handOn())
    this.held.push(handOn)
  }

  handOn(): void {
    for (let next = this.held.shift(); next; next = this.held.shift()) next()
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
