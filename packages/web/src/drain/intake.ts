import type { Cluster } from 'node:cluster'
import { connect, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { clearInterval, setInterval } from 'node:timers'
import { setImmediate } from 'node:timers/promises'
import type { HttpServer } from '../input/server.js'
import type { BacklogPolicy } from './options.js'
import { stopListening } from './shadows.js'

/** What Node keeps of a listening socket. */
interface Handle {
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
/** Milliseconds from one try to the next. */
const NEXT_TRY = 20
/** Milliseconds without anybody new, after which it isn't we who are too slow. */
const NO_PROGRESS = 1000

/**
 * Stops listening without a connection reset. To close a listening socket resets the connections that the kernel has accepted and
 * Node hasn't seen yet. So it is closed at a moment at which the only one is our own, and no other can come. `isLate` says
 * that there is no more time for that.
 */
export async function stopIntake(server: HttpServer, backlog: BacklogPolicy, isLate: () => boolean): Promise<void> {
  const { _handle: handle } = server as unknown as { _handle?: Handle | null }
  const address = server.address()
  // Whoever has just been told that it listens may still ask for its address.
  if (!handle || !address || backlog === 'handover' || !isAlone(server)) await setImmediate()
  else {
    // From now on the kernel holds no more than one connection that isn't accepted: others get no answer, try again, and are
    // refused.
    handle.listen(0)
    if (typeof address === 'string') await untilQuiet(server)
    else await closeBehindOurOwn(handle, address.port, addresses(address.address), () => isLate() || !server.listening)
  }
  stopListening(server)
}

/** Nobody is half connected to a socket of the file system: who waits is accepted, one a turn. */
async function untilQuiet(server: HttpServer): Promise<void> {
  const began = performance.now()
  let isQuiet = false
  const heard = () => {
    isQuiet = false
  }
  server.on('connection', heard)
  while (!isQuiet && performance.now() < began + NO_PROGRESS) {
    isQuiet = true
    await setImmediate()
    await setImmediate()
  }
  server.off('connection', heard)
}

/**
 * The kernel's one place is free right after something was accepted: then we connect to ourselves. If we have got it, nobody
 * else waits, or can; but for those who were half connected before: where there is somebody, they are given the time to try
 * again.
 */
async function closeBehindOurOwn(handle: Handle, port: number, hosts: string[], isOver: () => boolean): Promise<void> {
  const { onconnection } = handle
  const own = new Set<Socket>()
  const isOwn = (other: number | undefined) => Array.from(own, ({ localPort }) => localPort).includes(other)
  const connectToOurselves = () => {
    const [host] = hosts
    const socket = connect(port, host)
    socket.on('close', () => own.delete(socket)).on('error', () => host === hosts[0] && hosts.length > 1 && hosts.shift())
    own.add(socket)
    return socket
  }
  const began = performance.now()
  let latest = began
  await new Promise<void>((resolve) => {
    let isDone = false
    const done = () => {
      isDone = true
      clearInterval(again)
      resolve()
    }
    // After the loop was blocked, what waits is read first.
    const again = setInterval(async () => {
      await setImmediate()
      if (isOver() || performance.now() > latest + NO_PROGRESS) done()
      else if (!isDone) connectToOurselves()
    }, NEXT_TRY)
    handle.onconnection = (error, client) => {
      if (client && isOwn(portOf(client))) client.close()
      else {
        latest = performance.now()
        onconnection.call(handle, error, client)
      }
      const mayHaveMore = latest > began && performance.now() < began + AGAIN
      if (mayHaveMore) return
      const socket = connectToOurselves()
      // By then it has been tried, and libuv has not looked for the next connection yet.
      process.nextTick(() => {
        if (portOf((socket as unknown as { _handle: Client | null })._handle) === port) {
          handle.close()
          done()
        } else socket.destroy()
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

/** Where a server can be reached that listens on all addresses; there may be no IPv6, or nothing else. */
function addresses(address: string): string[] {
  return address === '0.0.0.0' ? ['127.0.0.1'] : address === '::' ? ['::1', '127.0.0.1'] : [address]
}

/** Does nobody else hold this listening socket? Others go on with its backlog. */
function isAlone(server: HttpServer): boolean {
  // Loaded where it is needed alone; the module itself, whatever its types say.
  const { isWorker } = process.getBuiltinModule('node:cluster') as unknown as Cluster
  // Without an address: listen({ fd }), as of systemd's socket activation, or a handle from another process.
  const { _connectionKey: key = '' } = server as unknown as { _connectionKey?: string }
  return process.platform === 'linux' && !isWorker && !/^(null|-1):null:/.test(key)
}
