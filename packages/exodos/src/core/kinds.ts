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
  writableEnded?: boolean
  writableFinished?: boolean
  end?(): unknown
  destroy(): unknown
}

/** Writes out what a stream has, then destroys it; at its limit without waiting. `destroy` alone, as its own `Symbol.asyncDispose`, loses that. */
const stream: Kind<StreamLike> = {
  is: (resource) => hasMethods(resource, 'pipe', 'destroy', 'once') && 'destroyed' in resource,
  close(stream, { signal }) {
    if (stream.closed || (stream.destroyed && stream.closed === undefined)) return undefined
    const finish = () => stream.destroy()
    const closed = settled(stream, 'close')
    signal.addEventListener('abort', finish, { once: true })
    if (signal.aborted || stream.destroyed || !stream.end || stream.writableFinished) finish()
    else {
      stream.once('finish', finish)
      if (!stream.writableEnded) stream.end()
    }
    return closed
  },
  watch: (stream, gone) => void stream.once('close', gone),
}

interface ServerLike extends Emitter {
  listening: boolean
  close(callback?: (error?: Error) => void): unknown
  closeIdleConnections?(): void
  closeAllConnections?(): void
}

/** Stops listening, and waits for the connections; at its limit those of HTTP are cut. */
const server: Kind<ServerLike> = {
  is: (resource) => hasMethods(resource, 'listen', 'close', 'once') && 'listening' in resource,
  close(server, { signal }) {
    if (!server.listening) return undefined
    const closed = new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
    server.closeIdleConnections?.()
    signal.addEventListener('abort', () => server.closeAllConnections?.(), { once: true })
    return closed
  },
  watch: (server, gone) => void server.once('close', gone),
}

interface SocketLike {
  readyState: number
  readonly CLOSED: number
  close(code?: number): void
  terminate?(): void
  addEventListener(type: 'close', listener: () => void, options?: { once: boolean }): void
}

/** Says goodbye and waits for the answer; at its limit the connection is cut, where the library can do that. */
const webSocket: Kind<SocketLike> = {
  is: (resource) => hasMethods(resource, 'close', 'send', 'addEventListener') && 'readyState' in resource && 'CLOSED' in resource,
  close(socket, { signal }) {
    if (socket.readyState === socket.CLOSED) return undefined
    const closed = new Promise<void>((resolve) => socket.addEventListener('close', () => resolve(), { once: true }))
    // "Going away"; the browsers' API leaves that code to the browser.
    if (socket.terminate) socket.close(1001)
    else socket.close()
    signal.addEventListener('abort', () => socket.terminate?.(), { once: true })
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
    hasMethods(resource, 'handleUpgrade', 'close', 'once') && (resource as SocketServerLike).clients instanceof Set,
  close(server, ctx) {
    const closed = new Promise<void>((resolve, reject) => server.close((error) => (error ? reject(error) : resolve())))
    for (const client of server.clients) webSocket.close(client, ctx)
    return closed
  },
  watch: (server, gone) => void server.once('close', gone),
}

const KINDS = [stream, server, webSocketServer, webSocket] as unknown as readonly Kind<object>[]

export function kindOf(resource: object): Kind<object> | undefined {
  try {
    return KINDS.find((kind) => kind.is(resource))
  } catch {
    // A getter, or a proxy, that throws.
    return undefined
  }
}

function hasMethods(resource: object, ...names: string[]): boolean {
  return names.every((name) => typeof (resource as Record<string, unknown>)[name] === 'function')
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
