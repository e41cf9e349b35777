import type { ServerResponse } from 'node:http'
import { performance } from 'node:perf_hooks'
import { setImmediate, setTimeout } from 'node:timers'
import { ExodosError } from 'exodos'
import type { HttpServer } from '../input/server.js'
import type { Connection } from './connection.js'
import { closeSession, LAST_ANSWER, NO_ANSWER, sayGoodbye } from './goodbye.js'
import { stopIntake } from './intake.js'
import type { Settings } from './options.js'
import { describe, progress } from './progress.js'
import { forgetChecks, giveClosingBack, isOpen, leaveClosingToUs, sayCloseIn } from './shadows.js'
import { abort } from './signals.js'
import type { DrainStats } from './stats.js'

const BEAT = 50
/** Of a server of HTTP/2 that falls back to HTTP/1, and doesn't say. */
const NODES_KEEP_ALIVE = 5000

/** The time that a drain is given. */
export interface Limit {
  /** Milliseconds. */
  left(): number
  /** Aborted when it is over at once. */
  readonly signal?: AbortSignal
}

/** One drain of the servers, from its first step to its last. */
export class Draining {
  answered = 0
  tooLate = 0
  readonly cut = { requests: 0, connections: 0 }
  /** The requests have been told that the deadline is near. */
  isLate = false
  private readonly begin = performance.now()
  private end = 0
  private isListening = true
  private readonly limits: Limit[] = []
  private readonly problems: unknown[] = []
  private wake = () => {}

  constructor(
    private readonly servers: readonly HttpServer[],
    private readonly settings: Settings,
    /** Those of all servers that are open now. */
    private readonly connections: () => Iterable<Connection>,
  ) {}

  get duration(): number {
    return Math.round((this.end || performance.now()) - this.begin)
  }

  /** From now on this limit holds, too. */
  limit(limit: Limit): void {
    this.limits.push(limit)
    limit.signal?.addEventListener('abort', () => this.wake(), { once: true })
  }

  /** The drain, step by step. Rejects with `ERR_EXODOS_DRAIN` when requests had to be cut. */
  async run(stats: () => DrainStats, status: (text: string) => void): Promise<void> {
    const show = progress(this.settings.name, stats, () => this.left())
    // Kept for the last words, and half of it for leaving before others say that we are overdue.
    const margin = Math.min(1000, this.left() / 5)
    show()
    this.sayClose()
    const intake = this.stopIntake()
    while ((this.isOpen() || this.isListening) && this.left() > margin / 2) {
      this.endLongLived()
      await this.closeWaiting(this.left() < 1.5 * margin)
      if (this.left() < margin) this.tellDeadline()
      status(describe(stats()))
      show()
      await this.beat(this.left() - margin / 2)
    }
    if (this.isOpen()) this.tellDeadline()
    // Nobody waits for a good moment to stop listening any more.
    this.isLate = true
    await intake
    this.cutTheRest()
    for (const server of this.servers) {
      forgetChecks(server)
      giveClosingBack(server)
    }
    await twoTurns()
    this.end = performance.now()
    status(this.cut.connections > 0 ? `cut; answers lost: ${this.cut.requests}` : 'drained')
    show(true)
    if (this.problems.length === 1) throw this.problems[0]
    if (this.problems.length > 1) throw new AggregateError(this.problems, `${this.settings.name}: several errors`)
  }

  // The steps -------------------------------------------------------------------------------------------------------------

  /** From now on each connection ends with its next answer, and nobody closes the others because they are idle. */
  private sayClose(): void {
    for (const server of this.servers) leaveClosingToUs(server)
    for (const connection of this.connections()) this.changeOver(connection)
    // Whoever listens may answer at once.
    for (const { signals } of this.connections()) for (const one of signals) abort(one, 'draining')
  }

  private changeOver(connection: Connection): void {
    const { socket, latest, use } = connection
    if (use === 'fresh' || use === 'idle' || use === 'busy') {
      socket.destroySoon = () => connection.leave(LAST_ANSWER)
      if (use === 'busy') this.await(connection, latest as ServerResponse)
    }
    this.sayGoodbye(connection)
  }

  private sayGoodbye(connection: Connection): void {
    sayGoodbye(connection, this.settings, this.isLate, (error) => this.problems.push(error))
  }

  private async stopIntake(): Promise<void> {
    await Promise.all(this.servers.map((server) => this.listening(server)))
    this.isListening = false
    this.gone()
  }

  /** Event streams and sockets that begin while the server drains would go on for ever as well. */
  private endLongLived(): void {
    for (const connection of this.connections()) this.sayGoodbye(connection)
  }

  /**
   * Closes the connections whose clients have had their time for a request, and silent tunnels: after two turns of the event
   * loop, in which one that waits in the kernel is read, also when the loop was blocked until now.
   */
  private async closeWaiting(isLate: boolean): Promise<void> {
    const now = performance.now()
    const due = new Map<Connection, number>()
    for (const connection of this.connections()) {
      if (!connection.isWaiting) continue
      const { firstRequest, ws } = this.settings
      const until = connection.mayAskUntil(this.begin, now, this.lingerOf(connection.server), firstRequest, ws.timeout)
      if (isLate || now >= until) due.set(connection, connection.traffic)
    }
    if (due.size > 0) await twoTurns()
    for (const [connection, traffic] of due) {
      if (!connection.isWaiting || connection.traffic !== traffic) continue
      if (connection.session) closeSession(connection)
      else connection.leave(connection.use === 'upgraded' ? LAST_ANSWER : NO_ANSWER)
    }
    // Those that came before the servers were watched.
    if (!this.hasConnections())
      for (const server of this.servers)
        if (isLate || now >= this.begin + this.lingerOf(server))
          (Object.getPrototypeOf(server) as { closeIdleConnections?(): void }).closeIdleConnections?.call(server)
  }

  /** A second more than the server itself waits for the next request; without an end where it does. */
  private lingerOf(server: HttpServer): number {
    const { linger } = this.settings
    if (linger !== 'auto') return linger
    const { keepAliveTimeout: keepAlive = NODES_KEEP_ALIVE } = server as { keepAliveTimeout?: number }
    return keepAlive > 0 ? keepAlive + 1000 : Number.POSITIVE_INFINITY
  }

  private tellDeadline(): void {
    if (this.isLate) return
    this.isLate = true
    for (const { signals } of this.connections()) for (const one of signals) abort(one, 'deadline')
  }

  /** Cuts what is still open. */
  private cutTheRest(): void {
    const cut: string[] = []
    for (const connection of this.connections()) {
      const { use, latest, session, streams, socket } = connection
      if (use === 'busy') cut.push(`${latest?.req.method} ${latest?.req.url}`)
      else if (use === 'upgrading') cut.push('an upgrade')
      else if (use === 'session') cut.push(...Array.from(streams, () => 'a stream of HTTP/2'))
      else if (use !== 'upgraded' && use !== 'webSocket' && connection.hasUnsent) cut.push('an answer that was not read')
      this.cut.connections++
      session?.destroy()
      socket.on('error', () => {})
      socket.destroy()
    }
    for (const server of this.servers as readonly { closeAllConnections?(): void }[]) server.closeAllConnections?.()
    this.cut.requests = cut.length
    if (cut.length === 0) return
    const shown = cut.length > 5 ? [...cut.slice(0, 5), `${cut.length - 5} more`] : cut
    const message = `${this.settings.name}: the time was over, and cut were: ${shown.join(', ')}`
    this.problems.push(new ExodosError('ERR_EXODOS_DRAIN', message))
  }

  private isOpen(): boolean {
    return this.hasConnections() || this.servers.some((server) => !server.listening && isOpen(server))
  }

  private hasConnections(): boolean {
    for (const _ of this.connections()) return true
    return false
  }

  private left(): number {
    return Math.min(...this.limits.map(({ left, signal }) => (signal?.aborted ? 0 : left())))
  }

  private beat(most: number): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve
      setTimeout(resolve, Math.min(BEAT, most))
    })
  }

  // What happens meanwhile ----------------------------------------------------------------------------------------------------

  connected(connection: Connection): void {
    this.changeOver(connection)
  }

  /** A request is handed on when all that came with it has been read; or never. */
  requested(connection: Connection, response: ServerResponse, handOn: () => void): void {
    const { latest, marked } = connection
    // Node may know the new one already.
    const isLast = connection.use === 'busy' && latest !== response && latest === marked
    if (connection.isLeaving || (isLast && latest?.headersSent)) {
      // The client was told that this connection ends. What isn't answered mustn't be begun.
      this.tooLate++
      return
    }
    // Another one behind it: it isn't the last.
    if (isLast && latest) latest.shouldKeepAlive = true
    connection.begin(response)
    this.await(connection, response)
    connection.hold(handOn)
  }

  streamed(connection: Connection): void {
    void twoTurns().then(() => this.sayGoodbye(connection))
  }

  gone(): void {
    if (!this.isOpen() && !this.isListening) this.wake()
  }

  /** Also for one that was about to listen when the drain began. */
  listening(server: HttpServer): Promise<void> {
    return stopIntake(server, this.settings.backlog, () => this.isLate)
  }

  /** Has a response say `Connection: close` where its client expects to go on, and notes when it is given. */
  private await(connection: Connection, response: ServerResponse): void {
    if (!response.headersSent && response.shouldKeepAlive) {
      connection.marked = response
      response.shouldKeepAlive = false
      sayCloseIn(response)
    }
    response.once('close', () => {
      if (response.writableFinished) this.answered++
      connection.answered()
    })
  }
}

function twoTurns(): Promise<void> {
  return new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
}
