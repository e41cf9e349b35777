import type { Server as HttpServerOfNode } from 'node:http'
import type { Http2SecureServer, Http2Server } from 'node:http2'
import type { Server as HttpsServer } from 'node:https'

/** A server of `node:http`, `node:https` or `node:http2`, also one that a framework has made. */
export type HttpServer = HttpServerOfNode | HttpsServer | Http2Server | Http2SecureServer

/** Servers that answer to the end, whatever becomes of the others. */
export const neverDrained = new WeakSet<object>()

/** Told by what only these have: a server may be of another realm, or of a class of somebody's own. */
export function isHttpServer(server: object): server is HttpServer {
  return 'maxHeadersCount' in server || 'updateSettings' in server
}
