import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Check, CheckResult } from './checks.js'
import { hasStarted, type Readiness, readiness, unlessLeaving } from './readiness.js'

export type Request = IncomingMessage | Http2ServerRequest
export type Response = ServerResponse | Http2ServerResponse

/** Which path is which probe. */
export interface Paths {
  live: string
  ready: string
  startup: string
}

interface Body extends Readiness {
  checks?: Record<string, CheckResult>
}

/** Answers a request if it is a probe; returns whether it is. */
export type Responder = (request: Request, response: Response) => boolean

export function makeResponder(paths: Paths, checks: ReadonlyMap<string, Check>): Responder {
  const probes = new Map<string, () => Body | Promise<Body>>([
    // While draining, too: who isn't alive is restarted.
    [paths.live, () => ({ status: 'ok' })],
    [paths.ready, () => (readiness().status === 'ok' ? check(checks) : { ...readiness(), checks: {} })],
    [paths.startup, () => ({ status: hasStarted() ? 'ok' : 'not ready' })],
  ])
  return (request, response) => {
    const url = request.url ?? ''
    const end = url.indexOf('?')
    const probe = probes.get(end < 0 ? url : url.slice(0, end))
    if (!probe) return false
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      write(request, response, 405, '', { Allow: 'GET, HEAD' })
      return true
    }
    const body = probe()
    if (body instanceof Promise) body.then((later) => show(request, response, later))
    else show(request, response, body)
    return true
  }
}

/** All checks at the same time. What the process says of itself may have changed meanwhile. */
async function check(checks: ReadonlyMap<string, Check>): Promise<Body> {
  const asked = [...checks].map(async ([name, one]) => [name, await one.ask()] as const)
  const results = (await unlessLeaving(Promise.all(asked))) ?? []
  const failed = results.some(([, { status }]) => status !== 'ok')
  const own = readiness()
  return { ...own, status: own.status === 'ok' && failed ? 'not ready' : own.status, checks: Object.fromEntries(results) }
}

function show(request: Request, response: Response, body: Body): void {
  const headers = { 'Content-Type': 'application/json' }
  write(request, response, body.status === 'ok' ? 200 : 503, `${JSON.stringify(body)}\n`, headers)
}

function write(request: Request, response: Response, code: number, text: string, headers: Record<string, string>): void {
  // A drain doesn't see these requests: no connection may be left on which it waits for the next one.
  if ('shouldKeepAlive' in response) response.shouldKeepAlive = false
  response.writeHead(code, { ...headers, 'Cache-Control': 'no-store', 'Content-Length': Buffer.byteLength(text) })
  if (request.method === 'HEAD') response.end()
  else response.end(text)
}
