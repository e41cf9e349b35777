import type { Cluster } from 'node:cluster'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearInterval, clearTimeout, setInterval, setTimeout } from 'node:timers'
import { setImmediate } from 'node:timers/promises'
import type { HttpServer } from '../input/server.js'
import type { BacklogPolicy } from './options.js'
import { stopListening } from './shadows.js'

/** What Node keeps of a listening socket. */
interface Handle {
  fd?: number
  listen(backlog: number): number
  close(): void
  onconnection(this: Handle, error: number, client?: Client): void
}

interface Client {
  getpeername?(out: { port?: number }): number
  close(): void
}

/** Milliseconds after which those who were half connected when they got no answer have tried again. */
const AGAIN = 300
/** Milliseconds from one look at who waits to the next. */
const NEXT_LOOK = 20
/** To list more sockets than that takes longer than to wait for those who try again. */
const MOST_SOCKETS = 5000

/**
 * Stops listening without a connection reset. To close a listening socket resets the connections that the kernel has accepted and
 * Node hasn't seen yet. So it is closed at a moment at which the only one is our own, and no other can come.
 */
export async function stopIntake(server: HttpServer, backlog: BacklogPolicy, limit: number): Promise<void> {
  const { _handle: handle } = server as unknown as { _handle?: Handle | null }
  if (handle && backlog === 'shrink' && isAlone(handle)) await closeBehindOurOwn(server, handle, limit)
  // Whoever has just been told that it listens may still ask for its address.
  else await setImmediate()
  stopListening(server)
}

/**
 * From now on the kernel holds no more than one connection that isn't accepted: others get no answer, try again, and are refused
 * then. That place is free right after something was accepted: then we connect to ourselves. If we have got it, nobody else waits,
 * or can; but for those who were half connected before.
 */
async function closeBehindOurOwn(server: HttpServer, handle: Handle, limit: number): Promise<void> {
  const address = server.address()
  if (address === null || typeof address === 'string') return
  const { onconnection } = handle
  const own = new Set<Socket>()
  const isOwn = (port: number | undefined) => Array.from(own, ({ localPort }) => localPort).includes(port)
  const connectToOurselves = () => {
    const socket = connect(address.port, reachable(address.address))
    socket.on('error', () => {}).on('close', () => own.delete(socket))
    own.add(socket)
    return socket
  }
  const begin = performance.now()
  let nextLook = begin
  handle.listen(0)
  await new Promise<void>((resolve) => {
    const over = setTimeout(resolve, limit)
    const again = setInterval(connectToOurselves, NEXT_LOOK)
    const done = () => {
      clearTimeout(over)
      clearInterval(again)
      resolve()
    }
    over.unref()
    handle.onconnection = (error, client) => {
      if (client && isOwn(portOf(client))) client.close()
      else onconnection.call(handle, error, client)
      if (performance.now() < nextLook) return
      const socket = connectToOurselves()
      // By then it has been tried, and libuv has not looked for the next connection yet.
      process.nextTick(() => {
        const hasPlace = portOf((socket as unknown as { _handle: Client | null })._handle) === address.port
        if (!hasPlace) {
          socket.destroy()
          return
        }
        nextLook = performance.now() + NEXT_LOOK
        const waiting = waitingFor(address.port)
        if (waiting ? !waiting.every(isOwn) : performance.now() < begin + AGAIN) return
        handle.close()
        done()
      })
    }
    connectToOurselves()
  })
  handle.onconnection = onconnection
  for (const socket of own) socket.destroy()
}

/** Of whom it is connected to; undefined while it isn't. */
function portOf(client: Client | null): number | undefined {
  const peer: { port?: number } = {}
  client?.getpeername?.(peer)
  return peer.port
}

/** The ports of those who are connected to a port of ours, or half, and not accepted yet; undefined where that can't be known soon. */
function waitingFor(port: number): number[] | undefined {
  // Local and remote address, TCP_ESTABLISHED or TCP_SYN_RECV, four fields, user, timeout, and no inode: nobody has accepted it.
  const local = port.toString(16).toUpperCase().padStart(4, '0')
  const line = new RegExp(`:${local} [0-9A-F]+:([0-9A-F]{4}) 0[13] \\S+ \\S+ \\S+ +\\d+ +\\d+ 0 `, 'g')
  try {
    const [, inUse, timeWait] = /^TCP: inuse (\d+) .*tw (\d+)/m.exec(readFileSync('/proc/net/sockstat', 'latin1')) ?? []
    if (!(Number(inUse) + Number(timeWait) < MOST_SOCKETS)) return undefined
    const text = readFileSync('/proc/net/tcp', 'latin1') + readFileSync('/proc/net/tcp6', 'latin1')
    return Array.from(text.matchAll(line), ([, there = '']) => Number.parseInt(there, 16))
  } catch {
    return undefined
  }
}

/** Where a server that listens on all addresses can be reached. */
function reachable(address: string): string {
  return address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
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
