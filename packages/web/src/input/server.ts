import type { AddressInfo } from 'node:net'

/**
 * A server of `node:http`, `node:https` or `node:http2`, also one that a framework has made: what these have in common,
 * whatever their requests and responses are.
 */
export interface HttpServer extends NodeJS.EventEmitter {
  readonly listening: boolean
  address(): AddressInfo | string | null
  close(callback?: (error?: Error) => void): unknown
  setTimeout(milliseconds?: number): unknown
}

/** Servers that answer to the end, whatever becomes of the others. */
export const neverDrained = new WeakSet<object>()

/** Told by what only these have: a server may be of another realm, or of a class of somebody's own. */
export function isHttpServer(server: object): server is HttpServer {
  return 'maxHeadersCount' in server || 'updateSettings' in server
}
