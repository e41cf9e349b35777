import { subscribe } from 'node:diagnostics_channel'
import type { HttpServer } from '../input/server.js'
import { drainAutomatically } from './drain.js'

let isOn = false

/**
 * Drains every server of `node:http`, `node:https` and `node:http2` that begins to listen from now on, with the default options.
 * One that is given to `drainHttp`, before or after, is drained as said there. `--import exodos/register` calls it.
 */
export function drainEveryServer(): void {
  if (isOn) return
  isOn = true
  // Node tells of servers that are about to listen: no connection of them is missed.
  subscribe('tracing:net.server.listen:asyncStart', (message) => {
    const { server } = message as { server: object }
    if (isHttpServer(server)) drainAutomatically(server)
  })
}

/** Told by what only these have: a server may be of another realm, or of a class of somebody's own. */
function isHttpServer(server: object): server is HttpServer {
  return 'maxRequestsPerSocket' in server || 'updateSettings' in server
}
