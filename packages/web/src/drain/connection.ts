import { AsyncResource } from 'node:async_hooks'
import type { ServerResponse } from 'node:http'
import type { ServerHttp2Session, ServerHttp2Stream } from 'node:http2'
import type { Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearInterval, setInterval } from 'node:timers'
import type { HttpServer } from '../input/server.js'
import { type Frames, followFrames } from './frames.js'
import type { RequestSignals } from './signals.js'

/** How a connection is used just now. */
export type Use = 'fresh' | 'busy' | 'idle' | 'session' | 'upgrading' | 'webSocket' | 'upgraded'

/** One connection to a server, as far as a drain has to know it. */
export class Connection {
  /** So far. */
  requests = 0
  session: ServerHttp2Session | undefined
  /** Of the session; some are tunnels by CONNECT, or WebSockets (RFC 8441). */
  readonly streams = new Map<ServerHttp2Stream, 'upgraded' | Frames | undefined>()
  readonly signals = new Set<RequestSignals>()
  /** The response that says `Connection: close` because of the drain. */
  marked: ServerResponse | undefined
  /** Its write side has been ended by the drain: what still comes is thrown away. */
  isLeaving = false
  /** Of the last request of HTTP/1, where it came behind another, or while draining. */
  private response: ServerResponse | undefined
  /** Somebody else has it, with a protocol of its own, once more than so many bytes are written. */
  private upgraded: 'webSocket' | 'upgraded' | undefined
  private writtenBefore = 0
  /** Of a WebSocket. */
  frames: Frames | undefined
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

  /** The last response. They leave in order: when it is done, all are. Where nothing is kept Node knows it. */
  get latest(): ServerResponse | undefined {
    return this.response ?? this.current
  }

  /** What Node is writing. It lets go of a response that is over, and of all that hangs on it: so do we. */
  private get current(): ServerResponse | undefined {
    return (this.socket as { _httpMessage?: ServerResponse | null })._httpMessage ?? undefined
  }

  /** A stream that is no socket doesn't tell. */
  private get hasWritten(): boolean {
    const { bytesWritten = Number.POSITIVE_INFINITY } = this.socket as Partial<Socket>
    return bytesWritten > this.writtenBefore
  }

  get isUpgraded(): boolean {
    return this.upgraded !== undefined
  }

  get use(): Use {
    if (this.upgraded) return this.hasWritten ? this.upgraded : 'upgrading'
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

  /** Nothing is under way, as far as can be seen, and the drain has not closed it yet. */
  get isWaiting(): boolean {
    const { use, session } = this
    if (this.isLeaving) return false
    return (
      use === 'fresh' || use === 'idle' || use === 'upgraded' || (use === 'session' && this.requests === 0 && !session?.closed)
    )
  }

  /** Bytes that went through it. */
  get traffic(): number {
    const { bytesRead = 0, bytesWritten = 0 } = this.socket as Partial<Socket>
    return bytesRead + (this.upgraded ? bytesWritten : 0)
  }

  /** Not all that was written has been taken by the client. */
  get hasUnsent(): boolean {
    return !this.socket.destroyed && this.socket.writableLength > 0
  }

  /** A request, while nothing is drained: this is what each of them costs. */
  serve(response: ServerResponse): void {
    this.requests++
    if (this.current !== response) this.keep(response)
  }

  /** A request, in a drain. */
  begin(response: ServerResponse): void {
    this.requests++
    this.keep(response)
  }

  private keep(response: ServerResponse): void {
    this.response = response
    response.once('close', () => {
      if (this.response === response) this.response = undefined
    })
  }

  /** Somebody may emit a request once more. */
  hasBegun(response: ServerResponse): boolean {
    return this.response === response
  }

  beginStream(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
    this.requests++
    const isTunnel = headers[':method'] === 'CONNECT'
    const isWebSocket = isTunnel && headers[':protocol'] === 'websocket'
    this.streams.set(stream, isWebSocket ? followFrames(stream, false) : isTunnel ? 'upgraded' : undefined)
    stream.once('close', () => this.streams.delete(stream))
  }

  /** By 'upgrade' or 'connect'. Until something is written it is a request under way. */
  takenOver(by: 'webSocket' | 'upgraded'): void {
    this.requests++
    this.upgraded = by
    if (by === 'webSocket') this.frames = followFrames(this.socket, true)
    this.writtenBefore = this.socket.bytesWritten ?? 0
  }

  /** Keeps a request back until all that came in its packet has been read. */
  hold(handOn: () => void): void {
    if (this.held.length === 0) process.nextTick(() => this.handOn())
    // Each in its own async context.
    this.held.push(AsyncResource.bind(handOn))
  }

  handOn(): void {
    for (let next = this.held.shift(); next; next = this.held.shift()) next()
  }

  answered(): void {
    this.since = performance.now()
    this.heard = this.traffic
  }

  /**
   * Until when its client may go on in a drain that began at `begin`: begin a request, of which half a head begins the time
   * anew; or, in a tunnel, say something.
   */
  mayAskUntil(begin: number, now: number, linger: number, firstRequest: number, silence: number): number {
    const { traffic, upgraded } = this
    if (this.heard >= 0 && traffic !== this.heard) this.heardAt = now
    this.heard = traffic
    if (upgraded) return Math.max(begin, this.heardAt) + silence
    const since = Math.max(begin, this.since) + (this.requests === 0 ? firstRequest : linger)
    // A session talks of other things, too.
    return this.session ? since : Math.max(since, this.heardAt + firstRequest)
  }

  /**
   * Ends the write side when all is written, and reads on until the client has ended its own, but for no more than twice
   * `ms` after that: to close a socket that has unread input resets the connection, and the client may lose the answer that
   * it hasn't read yet.
   */
  leave(ms: number): void {
    const { socket } = this
    if (this.isLeaving || socket.destroyed) return
    this.isLeaving = true
    let hadSent = false
    const timer = setInterval(() => {
      if (hadSent) socket.destroy()
      // What TLS is spoken over may be a stream of somebody's own: there the end of it is never told.
      hadSent = socket.writableFinished || (socket.writableLength === 0 && socket.remoteAddress === undefined)
    }, ms).unref()
    socket.once('close', () => clearInterval(timer))
    // What somebody still writes to it, or the client's reset, is nobody's business any more.
    socket.on('error', () => {})
    // Whoever has piped it somewhere has stopped to read.
    if (this.upgraded) socket.once('finish', () => socket.resume())
    if (!socket.writableEnded) socket.end()
  }
}
