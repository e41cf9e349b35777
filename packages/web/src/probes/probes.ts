import { type AddressInfo, Server } from 'node:net'
import { onExit } from 'exodos'
import { checkOptions, invalid } from '../input/input.js'
import type { HttpServer } from '../input/server.js'
import { makeResponder, type Paths } from './answer.js'
import { answerFirst } from './app-server.js'
import { type CheckFunction, type CheckOptions, makeChecks } from './checks.js'
import { serveProbes } from './own-server.js'
import { announceAtExit } from './readiness.js'

export interface ProbesOptions {
  /** The app's server: it answers the probes' paths before the app sees them. Either this or `port`. */
  server?: HttpServer
  /** A port for probes alone; 0 takes a free one. Either this or `server`. */
  port?: number
  /**
   * The address that `port` is bound to. Default `127.0.0.1`; Kubernetes' kubelet comes from outside and needs `0.0.0.0` or
   * `::`.
   */
  host?: string
  /** What readiness depends on, by name: a function, or one with its `timeout` and `cache`. */
  checks?: Record<string, CheckFunction | CheckOptions>
  /** Default `/live`. */
  live?: string
  /** Default `/ready`. */
  ready?: string
  /** Default `/startup`. */
  startup?: string
}

export interface Probes {
  /** Where `port` is listened on; rejects when it can't be (`EADDRINUSE`). Undefined for an app's server. */
  readonly listening: Promise<AddressInfo | undefined>
  /** Answers no probes any more. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

const OPTIONS = ['server', 'port', 'host', 'checks', 'live', 'ready', 'startup']

/**
 * Answers liveness, readiness and start-up probes, on the app's server or on a port of their own.
 *
 * Liveness is 200 as long as the event loop turns, while leaving, too. Readiness is 200 from `ready()` on, unless a check
 * fails, and 503 for good when leaving begins. Start-up is 200 once `ready()` was called.
 *
 * A port of its own answers until the hooks of `flush` are called, and doesn't keep the process alive. Probes have no
 * part in the exit code. Throws `ERR_EXODOS_INVALID_ARG` for bad input, `ERR_EXODOS_CLOSED` once the process is leaving
 * and the hooks have run.
 */
export function probes(options: ProbesOptions): Probes {
  checkOptions('probes(options)', options, OPTIONS)
  const { server, port, host = '127.0.0.1', checks = {} } = options
  if ((server === undefined) === (port === undefined)) {
    throw invalid('probes(options)', 'either port or server', server === undefined ? 'neither' : 'both')
  }
  if (server !== undefined && !(server instanceof Server)) {
    throw invalid('options.server', 'a server of node:http, node:https or node:http2', server)
  }
  if (port !== undefined && !(Number.isInteger(port) && port >= 0 && port <= 65_535)) {
    throw invalid('options.port', 'an integer from 0 to 65535', port)
  }
  if (typeof host !== 'string' || !host) throw invalid('options.host', 'an address', host)
  if (options.host !== undefined && server) throw invalid('options.host', 'nothing beside server', host)
  const respond = makeResponder(checkPaths(options), makeChecks(checks))
  announceAtExit()
  if (server) {
    const restore = answerFirst(server, respond)
    return makeProbes(Promise.resolve(undefined), async () => restore())
  }
  const own = serveProbes(port as number, host, respond)
  // The last one of the last phase. It isn't waited for: nothing of it holds the process.
  const hook = onExit(() => void own.close(), { name: 'probes', phase: 'flush', priority: Number.NEGATIVE_INFINITY, sync: true })
  return makeProbes(own.listening, () => {
    hook.cancel()
    return own.close()
  })
}

function checkPaths({ live = '/live', ready = '/ready', startup = '/startup' }: ProbesOptions): Paths {
  const paths = { live, ready, startup }
  const seen = new Set<string>()
  for (const [name, path] of Object.entries(paths)) {
    if (typeof path !== 'string' || !/^\/[^?#\s]*$/.test(path)) {
      throw invalid(`options.${name}`, "a path that begins with '/', without a query", path)
    }
    if (seen.has(path)) throw invalid(`options.${name}`, 'a path of its own', path)
    seen.add(path)
  }
  return paths
}

function makeProbes(listening: Probes['listening'], close: Probes['close']): Probes {
  return { listening, close, [Symbol.asyncDispose]: close }
}
