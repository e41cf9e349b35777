import { subscribe } from 'node:diagnostics_channel'
import { isHttpServer, neverDrained } from '../input/server.js'
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
    if (isHttpServer(server) && !neverDrained.has(server)) drainAutomatically(server)
  })
}
