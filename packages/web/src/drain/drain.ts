import type { IncomingMessage } from 'node:http'
import type { Http2ServerRequest } from 'node:http2'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { exiting, type HookContext, onExit, type Registration } from 'exodos'
import { invalid } from '../input/input.js'
import type { HttpServer } from '../input/server.js'
import { leave } from '../probes/readiness.js'
import type { Connection } from './connection.js'
import { Draining, type Limit } from './draining.js'
import { checkDrainOptions, checkServers, type DrainOptions, type Settings } from './options.js'
import { isOpen } from './shadows.js'
import { abort, type SignalKind, signalsOf } from './signals.js'
import { count, type DrainStats } from './stats.js'
import { connectionOf, connectionsOf, type Observer, watch } from './watch.js'

/** Milliseconds that the hook of the window has beside the window itself. */
const READY_TO_GO = 1000
/** The time of a `close()` by hand, where no option says otherwise. */
const BY_HAND = 10_000

const drains = new WeakMap<HttpServer, Drain>()

/**
 * Drains servers on the way out, in the phases `announce` and `drain`, without losing a request.
 *
 * Readiness is taken back first (see `probes`), and `readinessDelay` waited for. Then each connection ends with its next answer,
 * which says `Connection: close`; WebSockets are told 1001, event streams end, sessions of HTTP/2 are told GOAWAY; the servers
 * stop listening; connections without a request are closed when their clients have had time for one. What is not answered at
 * the end is cut, and reported. Databases and whatever else the handlers need belong into `release`: it comes after.
 *
 * To be called before the server listens, or soon after. Works on the exit paths of `onExit` on which the event loop still turns:
 * not in an 'exit' event. Throws `ERR_EXODOS_INVALID_ARG` for bad input, also for a server that is drained already.
 */
export function drainHttp(servers: HttpServer | readonly HttpServer[], options: DrainOptions = {}): Drain {
  const [checked, settings] = [checkServers(servers), checkDrainOptions(options)]
  const others = checked.map((server) => drains.get(server)).filter((other) => other !== undefined)
  if (others.some(({ isAutomatic }) => !isAutomatic))
    throw invalid('drainHttp(servers, options)', 'servers that are not drained yet', 'one that is')
  for (const other of others) other.cancel()
  return new Drain(checked, settings, false)
}

/** Drains a server that was found, as long as nobody says anything of it. */
export function drainAutomatically(server: HttpServer): void {
  if (!drains.has(server)) new Drain([server], checkDrainOptions({}), true)
}

/** The drain of one or several servers, as `drainHttp` returns it. */
export class Drain implements AsyncDisposable {
  readonly #servers: readonly HttpServer[]
  readonly #settings: Settings
  readonly #unwatch: (() => void)[]
  #hooks: Registration[] = []
  #isAnnouncing = false
  #draining: Draining | undefined
  #done: Promise<DrainStats> | undefined
  #isOver = false

  /** @internal */
  constructor(
    servers: readonly HttpServer[],
    settings: Settings,
    readonly isAutomatic: boolean,
  ) {
    this.#servers = servers
    this.#settings = settings
    const drain = this
    const observer: Observer = {
      get isDraining() {
        return drain.#draining !== undefined
      },
      connected: (connection) => this.#draining?.connected(connection),
      request: (connection, response, handOn) => this.#draining?.requested(connection, response, handOn),
      stream: (connection) => this.#draining?.streamed(connection),
      gone: () => this.#draining?.gone(),
      listening: (server) => this.#listening(server),
      closed: () => this.#closed(),
    }
    this.#register()
    this.#unwatch = servers.map((server) => watch(server, observer))
    for (const server of servers) drains.set(server, this)
  }

  /** What the servers are doing now. */
  stats(): DrainStats {
    const draining = this.#draining
    const state = this.#isOver ? 'drained' : draining ? 'draining' : this.#isAnnouncing ? 'announcing' : 'serving'
    const { answered = 0, tooLate = 0, cut = { requests: 0, connections: 0 }, duration = 0 } = draining ?? {}
    return { state, ...count(this.#connections()), answered, tooLate, cut: { ...cut }, duration }
  }

  /**
   * A signal for the handler of a request, aborted shortly before the drain's deadline: an answer can still be given then. With
   * `'draining'` it is aborted when the drain begins, for what would wait for long. A request that never came over a connection,
   * as tests inject them, has signals that are not aborted later. Throws `ERR_EXODOS_INVALID_ARG` for bad input.
   */
  signalFor(request: IncomingMessage | Http2ServerRequest, when: SignalKind = 'deadline'): AbortSignal {
    if (when !== 'draining' && when !== 'deadline') throw invalid('when', "'draining' or 'deadline'", when)
    if (typeof request !== 'object' || request === null) throw invalid('signalFor(request)', 'a request', request)
    const signals = signalsOf(connectionOf(request), request)
    if (this.#draining) abort(signals, 'draining')
    if (this.#draining?.isLate) abort(signals, 'deadline')
    return signals[when].signal
  }

  /**
   * Drains now, without leaving the process, and stops listening; within `timeout`, or 10 s. A second call returns the same
   * promise. Rejects with `ERR_EXODOS_DRAIN` when the time was over and answers were cut.
   */
  close(): Promise<DrainStats> {
    const until = performance.now() + (this.#settings.timeout ?? BY_HAND)
    return this.#drain({ left: () => until - performance.now() })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Leaves the servers alone: they are not drained any more. */
  cancel(): void {
    this.#unregister()
    for (const unwatch of this.#unwatch) unwatch()
    for (const server of this.#servers) drains.delete(server)
  }

  *#connections(): Iterable<Connection> {
    for (const server of this.#servers) yield* connectionsOf(server)
  }

  #register(): void {
    if (this.#hooks.length > 0) return
    const { name, timeout, readinessDelay } = this.#settings
    const drain = onExit((ctx) => this.#leave(ctx), {
      name,
      phase: 'drain',
      state: () => this.stats(),
      ...(timeout === undefined ? {} : { timeout }),
    })
    this.#hooks = [drain]
    // Nobody is told any more of a server that comes so late.
    if (exiting.aborted) return
    const announce = onExit((ctx) => this.#announce(ctx), {
      name: `${name}: readiness window`,
      phase: 'announce',
      // A window that can't fit into the grace period is told at once, as a timeout is.
      ...(readinessDelay > 0 ? { timeout: readinessDelay + READY_TO_GO } : {}),
    })
    this.#hooks.push(announce)
  }

  #listening(server: HttpServer): void {
    if (this.#draining) void this.#draining.listening(server)
    else this.#register()
  }

  #unregister(): void {
    for (const hook of this.#hooks) hook.cancel()
    this.#hooks = []
  }

  /** Servers come and go: one that is closed has nothing to be drained. */
  #closed(): void {
    if (!this.#draining && !this.#servers.some((server) => server.listening)) this.#unregister()
  }

  /** Whoever hasn't heard yet that we leave still sends requests: they are served as before. */
  #announce({ signal }: HookContext): Promise<void> | undefined {
    leave()
    this.#isAnnouncing = true
    const { readinessDelay } = this.#settings
    return readinessDelay > 0 && this.#servers.some(isOpen)
      ? sleep(readinessDelay, undefined, { signal }).catch(() => {})
      : undefined
  }

  async #leave(ctx: HookContext): Promise<void> {
    try {
      await this.#drain({ left: () => ctx.remaining(), signal: ctx.signal }, ctx)
    } finally {
      ctx.result(this.stats())
    }
  }

  #drain(limit: Limit, ctx?: HookContext): Promise<DrainStats> {
    if (!this.#draining) {
      this.#draining = new Draining(this.#servers, this.#settings, () => this.#connections())
      this.#draining.limit(limit)
      this.#done = this.#draining
        .run(
          () => this.stats(),
          (text) => ctx?.status(text),
        )
        .finally(() => {
          this.#isOver = true
          this.cancel()
        })
        .then(() => this.stats())
    } else {
      this.#draining.limit(limit)
    }
    return this.#done as Promise<DrainStats>
  }
}
