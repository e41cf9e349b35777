import type { HookContext } from './hook.js'

/** A kind of resources that no single call closes well. Known by their methods: they may come from any realm or package. */
export interface Kind<T> {
  is(resource: object): boolean
  /** Closes it, and resolves when it is closed. What was closed before stays so. */
  close(resource: T, ctx: HookContext): Promise<unknown> | undefined
  /** Tells when it was closed by somebody else. */
  watch(resource: T, gone: () => void): void
}

interface Emitter {
  once(event: string, listener: (...args: never[]) => void): unknown
  off(event: string, listener: (...args: never[]) => void): unknown
}

interface StreamLike extends Emitter {
  closed?: boolean
  destroyed: boolean
  connecting?: boolean
  pending?: boolean
  _isStdio?: boolean
  writableEnded?: boolean
  writableFinished?: boolean
  readableEnded?: boolean
  readableFlowing?: boolean | null
  _writableState?: { emitClose?: boolean }
  _readableState?: { emitClose?: boolean }
  /** Of a file that is read, the position where it ends. */
  end?: (() => unknown) | number
  resume?(): unknown
  /** Of sockets: after so long without any traffic. */
  setTimeout?(ms: number, callback: () => void): unknown
  destroy(): unknown
}

/** A socket whose peer is silent for so long, and doesn't end its side, is destroyed. */
const SILENCE = 500

/** Writes out what a stream has, then destroys it; at its limit without waiting. `destroy` alone, as its own `Symbol.asyncDispose`, loses that. */
const stream: Kind<StreamLike> = {
  is: (resource) => has(resource, 'pipe') && has(resource, 'destroy') && has(resource, 'once') && 'destroyed' in resource,
  close(stream, { signal }) {
    // What is left in these is written when the process leaves; to end them would make others' last words fail.
    if (stream._isStdio) return undefined
    if (stream.closed || (stream.destroyed && stream.closed === undefined)) return undefined
    const destroy = () => void stream.destroy()
    // A socket that was never connected would not even tell that it has ended.
    const isUnused = stream.connecting === false && stream.pending === true
    if (signal.aborted || stream.destroyed || isUnused || typeof stream.end !== 'function') {
      const closed = tellsClose(stream) ? settled(stream, 'close') : undefined
      destroy()
      return closed
    }
    const closed = settled(stream, tellsClose(stream) ? 'close' : 'finish')
    signal.addEventListener('abort', destroy, { once: true })
    hangUp(stream, destroy)
    if (!stream.writableEnded) stream.end()
    return closed
  },
  watch: (stream, gone) => void stream.once('close', gone),
}

/**
 * Destroys a stream when all is written, and all is read where it can be read from: a compressor has more to give then, and
 * to close a socket that has unread input resets the connection, and the peer loses what it hasn't read yet. What nobody
 * reads is thrown away.
 */
function hangUp(stream: StreamLike, destroy: () => void): void {
  const isReadable = stream.readableEnded === false
  const finished = () => {
    if (!isReadable) return destroy()
    stream.once('end', destroy)
    stream.setTimeout?.(SILENCE, destroy)
  }
  if (stream.writableFinished) finished()
  else stream.once('finish', finished)
  if (isReadable && stream.readableFlowing !== true) stream.resume?.()
}

/** Streams may be told not to; sockets are, and tell it themselves. */
function tellsClose({ _writableState, _readableState, setTimeout }: StreamLike): boolean {
  return setTimeout !== undefined || (_writableState?.emitClose !== false && _readableState?.emitClose !== false)
}

interface ServerLike extends Emitter {
  listening: boolean
  on(event: string, listener: (connection: Connection) => void): unknown
  close(callback?: (error?: Error) => void): unknown
  closeIdleConnections?(): void
  closeAllConnections?(): void
}

interface Connection extends Emitter {
  /** Of HTTP/2's sessions: waits for the streams. */
  close?(): void
  destroy(): void
}

/** Connections of servers that can't cut them themselves, and sessions of HTTP/2. */
const connections = new WeakMap<object, Set<Connection>>()
/** Servers that have listened: one that doesn't any more is being closed. */
const listened = new WeakSet<object>()

/** Stops listening, and waits for the connections; at its limit they are cut. */
const server: Kind<ServerLike> = {
  is: (resource) => has(resource, 'listen') && has(resource, 'close') && 'listening' in resource,
  close(server, { signal }) {
    if (!server.listening && !listened.has(server)) return undefined
    const closed = settled(server, 'close')
    if (server.listening) server.close()
    const open = connections.get(server) ?? []
    server.closeIdleConnections?.()
    for (const connection of open) connection.close?.()
    const cut = () => {
      server.closeAllConnections?.()
      for (const connection of open) connection.destroy()
    }
    if (signal.aborted) cut()
    else signal.addEventListener('abort', cut, { once: true })
    return closed
  },
  watch(server, gone) {
    server.once('close', () => {
      listened.delete(server)
      gone()
    })
    if (server.listening) listened.add(server)
    else server.once('listening', () => listened.add(server))
    if (server.closeAllConnections || connections.has(server)) return
    const open = new Set<Connection>()
    connections.set(server, open)
    for (const event of ['connection', 'session'])
      server.on(event, (connection) => {
        open.add(connection)
        connection.once('close', () => open.delete(connection))
      })
  },
}

interface SocketLike {
  readyState: number
  readonly CLOSED: number
  close(code?: number): void
  terminate?(): void
  addEventListener(type: string, listener: () => void, options?: { once: boolean }): void
}

/** Says goodbye and waits for the answer; at its limit the connection is cut, where the library can do that. */
const webSocket: Kind<SocketLike> = {
  is: (resource) =>
    has(resource, 'close') &&
    has(resource, 'send') &&
    has(resource, 'addEventListener') &&
    'readyState' in resource &&
    'CLOSED' in resource,
  close(socket, { signal }) {
    if (socket.readyState === socket.CLOSED) return undefined
    const closed = new Promise<void>((resolve) => socket.addEventListener('close', () => resolve(), { once: true }))
    // One that was still connecting is told that it failed.
    socket.addEventListener('error', () => {})
    // "Going away"; the browsers' API leaves that code to the browser.
    if (socket.terminate) socket.close(1001)
    else socket.close()
    const cut = () => socket.terminate?.()
    if (signal.aborted) cut()
    else signal.addEventListener('abort', cut, { once: true })
    return closed
  },
  watch: (socket, gone) => socket.addEventListener('close', gone, { once: true }),
}

interface SocketServerLike extends Emitter {
  clients: Set<SocketLike>
  close(callback: (error?: Error) => void): void
}

/** Its own `close` waits for the clients, and tells them nothing. */
const webSocketServer: Kind<SocketServerLike> = {
  is: (resource) =>
    has(resource, 'handleUpgrade') &&
    has(resource, 'close') &&
    has(resource, 'once') &&
    (resource as SocketServerLike).clients instanceof Set,
  close(server, ctx) {
    const closed = new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
    for (const client of server.clients) webSocket.close(client, ctx)
    return closed
  },
  watch: (server, gone) => void server.once('close', gone),
}

interface ChildLike extends Emitter {
  exitCode: number | null
  signalCode: string | null
  kill(signal?: string): boolean
}

/** Asks a child process to end, and waits for that; at its limit it is killed. */
const child: Kind<ChildLike> = {
  is: (resource) => has(resource, 'kill') && 'exitCode' in resource && 'signalCode' in resource,
  close(child, { signal }) {
    if (child.exitCode !== null || child.signalCode !== null) return undefined
    const ended = new Promise<void>((resolve) => void child.once('exit', () => resolve()))
    const kill = () => child.kill('SIGKILL')
    child.kill()
    if (signal.aborted) kill()
    else signal.addEventListener('abort', kill, { once: true })
    return ended
  },
  watch: (child, gone) => void child.once('exit', gone),
}

interface NatsLike {
  drain(): Promise<void>
  isClosed(): boolean
  isDraining(): boolean
  closed(): Promise<unknown>
}

/** Its `close` loses what it has published last. Others' `drain` is something else. */
const nats: Kind<NatsLike> = {
  is: (resource) => ['drain', 'publish', 'isClosed', 'isDraining', 'closed'].every((name) => has(resource, name)),
  close: (connection) => (connection.isDraining() || connection.isClosed() ? connection.closed() : connection.drain()),
  watch: (connection, gone) => void connection.closed().then(gone, gone),
}

const KINDS = [stream, server, webSocketServer, webSocket, child] as unknown as readonly Kind<object>[]

export function kindOf(resource: object): Kind<object> | undefined {
  try {
    // Most tell by an event when they are closed; what can't is none of these.
    if (has(resource, 'once') || has(resource, 'addEventListener')) return KINDS.find((kind) => kind.is(resource))
    return nats.is(resource) ? (nats as unknown as Kind<object>) : undefined
  } catch {
    // A getter, or a proxy, that throws.
    return undefined
  }
}

function has(resource: object, name: string): boolean {
  return typeof (resource as Record<string, unknown>)[name] === 'function'
}

/** Waits for an event; an error that comes first is the result. */
function settled(emitter: Emitter, event: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      emitter.off('error', failed)
      resolve()
    }
    const failed = (error: unknown) => {
      emitter.off(event, done)
      reject(error)
    }
    emitter.once(event, done)
    emitter.once('error', failed)
  })
}
