import type { Cluster } from 'node:cluster'
import { Server } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { HttpServer } from '../input/server.js'
import type { BacklogPolicy } from './options.js'

interface Handle {
  fd?: number
  listen?(backlog: number): number
}

/** A flood of new connections must not keep a server from closing. */
const MOST_TURNS = 50

/**
 * Stops listening without a connection reset: to close the socket resets those that the kernel has accepted and Node hasn't
 * seen yet. So the kernel is told first to take no more (its answer to others is silence, and they try again), and what it has
 * taken is fetched. `accepted` counts connections.
 */
export async function stopIntake(server: HttpServer, backlog: BacklogPolicy, accepted: () => number): Promise<void> {
  const handle = (server as unknown as { _handle?: Handle | null })._handle
  const shrinks = backlog === 'shrink' && handle && isAlone(handle)
  if (shrinks) handle.listen?.(0)
  let before: number
  let turns = 0
  do {
    before = accepted()
    await setImmediate()
    await setImmediate()
  } while (shrinks && accepted() !== before && ++turns < MOST_TURNS)
  // Not the server's own `close`: that of http destroys idle connections, that of http2 closes sessions.
  if (server.listening) Server.prototype.close.call(server)
}

/** Does nobody else hold this listening socket? Others go on with its backlog. */
function isAlone({ fd = -1 }: Handle): boolean {
  // Loaded where it is needed alone; the module itself, whatever its types say.
  const { isWorker } = process.getBuiltinModule('node:cluster') as unknown as Cluster
  if (process.platform !== 'linux' || isWorker) return false
  const { LISTEN_FDS, LISTEN_PID } = process.env
  // Socket activation: systemd holds it (sd_listen_fds(3)).
  const isHanded = Number(LISTEN_PID) === process.pid && fd >= 3 && fd < 3 + Number(LISTEN_FDS)
  return !isHanded
}
