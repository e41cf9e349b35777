import type { Writable } from 'node:stream'
import type { Duration } from 'exodos'
import { checkOptions, invalid, milliseconds } from '../input/input.js'
import { type HttpServer, isHttpServer } from '../input/server.js'

/**
 * What to do with an event stream: end it, leave it to the application, or say something last and end it, after a promise
 * that is returned. It is what its handler was given: a response, or a stream of HTTP/2.
 */
export type EventStreamPolicy = 'end' | 'wait' | ((stream: Writable) => unknown)

/** What to do with connections that the kernel holds for this server when it stops listening. */
export type BacklogPolicy = 'shrink' | 'handover'

export interface DrainOptions {
  /** Shown in the report. Default `http`. */
  name?: string
  /**
   * The readiness window: for so long after readiness was taken back, requests are served as before, for whoever hasn't
   * heard of it. Default 0; behind a load balancer, the time between two of its probes and some more.
   */
  readinessDelay?: Duration
  /**
   * How long a connection without a request is kept open for its client's next one, which is answered with `Connection: close`.
   * Above the longest pause of its clients no request is lost. Default `'auto'`: a second more than the server's
   * `keepAliveTimeout`, or what the time allows.
   */
  linger?: Duration | 'auto'
  /** What connections are given that have sent nothing yet, or half the head of a request. Default 1 s. */
  firstRequest?: Duration
  /** The most time the drain may take. Default: what phase `drain` may still use; 10 s for `drain.close()`. */
  timeout?: Duration
  /**
   * `'shrink'` (default) has the kernel take no further connections, accepts those that it has taken already, and stops
   * listening. `'handover'` leaves them to whoever else has the listening socket.
   */
  backlog?: BacklogPolicy
  /**
   * What WebSockets are told (`code`, default 1001 "going away"), and how long they may take to answer (`timeout`, default 1
   * s). Other tunnels, by upgrade or CONNECT, are ended when they have been silent for so long.
   */
  ws?: { code?: number; timeout?: Duration }
  /** What becomes of event streams (`text/event-stream`). Default `'end'`. */
  sse?: EventStreamPolicy
}

/** The options with their defaults, in milliseconds. */
export interface Settings {
  name: string
  readinessDelay: number
  linger: number | 'auto'
  firstRequest: number
  timeout: number | undefined
  backlog: BacklogPolicy
  ws: { code: number; timeout: number }
  sse: EventStreamPolicy
}

const OPTIONS = ['name', 'readinessDelay', 'linger', 'firstRequest', 'timeout', 'backlog', 'ws', 'sse']
const CALL = 'drainHttp(servers, options)'

/** Checks what a caller gave. Throws `ERR_EXODOS_INVALID_ARG`. */
export function checkServers(given: HttpServer | readonly HttpServer[]): HttpServer[] {
  const servers = [...new Set(Array.isArray(given) ? given : [given])]
  const isServer = (one: unknown) => typeof one === 'object' && one !== null && isHttpServer(one)
  const wrong = servers.find((one) => !isServer(one))
  if (wrong !== undefined || servers.length === 0 || !servers.every(isServer))
    throw invalid(CALL, 'a server of node:http, node:https or node:http2, or a list of them', servers.length === 0 ? '[]' : wrong)
  return servers
}

/** Checks what a caller gave, and fills in the defaults. Throws `ERR_EXODOS_INVALID_ARG`. */
export function checkDrainOptions(options: DrainOptions): Settings {
  checkOptions(CALL, options, OPTIONS)
  const {
    name = 'http',
    readinessDelay = 0,
    linger = 'auto',
    firstRequest = 1000,
    timeout,
    backlog = 'shrink',
    ws = {},
  } = options
  const { sse = 'end' } = options
  if (typeof name !== 'string' || name === '') throw invalid('options.name', 'a string', name)
  if (backlog !== 'shrink' && backlog !== 'handover') throw invalid('options.backlog', "'shrink' or 'handover'", backlog)
  if (sse !== 'end' && sse !== 'wait' && typeof sse !== 'function')
    throw invalid('options.sse', "'end', 'wait' or a function", sse)
  checkOptions('options.ws', ws, ['code', 'timeout'])
  const { code = 1001, timeout: wsTimeout = 1000 } = ws
  // What may be sent in a close frame (RFC 6455, 7.4).
  const isCode =
    Number.isInteger(code) &&
    ((code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999))
  if (!isCode) throw invalid('options.ws.code', 'a close code of RFC 6455: 1000–1014 or 3000–4999', code)
  return {
    name,
    readinessDelay: milliseconds(readinessDelay, 'options.readinessDelay'),
    linger: linger === 'auto' ? linger : milliseconds(linger, 'options.linger'),
    firstRequest: milliseconds(firstRequest, 'options.firstRequest'),
    timeout: timeout === undefined ? undefined : milliseconds(timeout, 'options.timeout'),
    backlog,
    ws: { code, timeout: milliseconds(wsTimeout, 'options.ws.timeout') },
    sse,
  }
}
