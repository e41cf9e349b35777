import { expect } from 'vitest'
import type { Report, ReportedHook } from '../../../exodos/src/core/report.js'
import { type Ended, type Program, type ProgramOptions, start } from '../../../exodos/test/support/program.js'
import { cert, key } from './certificate.js'
import { connect, type Wire, type WireOptions } from './wire.js'

export type Scheme = 'http' | 'https' | 'h2c' | 'h2'

export interface AppOptions extends ProgramOptions {
  scheme?: Scheme
  /** Source text: options of `drainHttp`. */
  drain?: string
  /** Source text: before the server listens. Sees `server`, `routes`, `drain`, `say`, `go`. */
  setup?: string
  /** Of the exit, and so of the drain. */
  grace?: string
}

/** Another module that exports `drainHttp` shows that the tests can fail. */
export const web = process.env.EXODOS_TEST_WEB ?? '@exodos/web'

/** A server whose paths are the behaviours that tests need. `/held` and `/drip` wait for a line on stdin. */
export const appSource = ({ scheme = 'http', drain = 'linger: 300, firstRequest: 300', setup = '' }: AppOptions) => `
import { once } from 'node:events'
import { readSync, writeSync } from 'node:fs'
import * as http from 'node:http'
import * as https from 'node:https'
import * as http2 from 'node:http2'
import { setTimeout as sleep } from 'node:timers/promises'
import { onExit } from 'exodos'
import { drainHttp } from '${web}'

const say = (text) => writeSync(1, text + '\\n')
let line
const go = () => (line ??= once(process.stdin, 'data'))
const routes = {
  '/now': (request, response) => response.end('now'),
  '/never': () => {},
  '/held': async (request, response) => { await go(); response.end('held') },
  '/drip': async (request, response) => {
    response.writeHead(200, { 'content-length': 9 })
    response.write('head,')
    await go()
    response.end('tail')
  },
  '/large': (request, response) => {
    const body = Buffer.alloc(30_000_000, 'x')
    response.writeHead(200, { 'content-length': body.length }).end(body)
  },
  '/upload': async (request, response) => {
    let bytes = 0
    try { for await (const chunk of request) bytes += chunk.length } catch { return }
    response.end('got ' + bytes)
  },
}
const handle = (request, response) => {
  if (request.url !== '/now') say('request ' + request.url)
  routes[request.url](request, response)
}
const certificate = ${JSON.stringify({ key, cert })}
const server = ${
  {
    http: 'http.createServer(handle)',
    https: 'https.createServer(certificate, handle)',
    h2c: 'http2.createServer(handle)',
    h2: 'http2.createSecureServer({ ...certificate, allowHTTP1: true }, handle)',
  }[scheme]
}
const drain = drainHttp(server, { ${drain} })
onExit(() => say('draining'), { phase: 'drain' })
onExit(() => say('released'))
${setup}
if (!server.listening) server.listen(0, '127.0.0.1', () => say('port ' + server.address().port + ' ready'))
`

export interface App extends Program {
  port: number
  scheme: Scheme
  connect(options?: WireOptions & { port?: number }): Promise<Wire>
  /** The line on stdin. */
  go(): void
  /** Tells it to leave; resolves once it drains. */
  term(): Promise<void>
  /** Resolves when it has died by SIGTERM. */
  gone(): Promise<Gone>
}

export interface Gone extends Ended {
  report: Report
  /** The drain's row in the report. */
  row: ReportedHook
}

/** Starts such a server, and waits until it listens. */
export async function startApp(options: AppOptions = {}): Promise<App> {
  const { scheme = 'http', grace = '3s', env } = options
  const program = start(appSource(options), {
    stdio: ['pipe', 'pipe', 'pipe'],
    ...options,
    env: { EXODOS_GRACE: grace, ...env },
  })
  await program.until('ready')
  const port = Number(/port (\d+)/.exec(program.printed())?.[1])
  return {
    ...program,
    port,
    scheme,
    connect: ({ port: other = port, ...more } = {}) => connect(other, { tls: scheme === 'https' || scheme === 'h2', ...more }),
    go: () => void program.child.stdin?.write('go\n'),
    term: async () => {
      program.kill('SIGTERM')
      await program.until('draining')
    },
    gone: async () => {
      const ended = await program.ended
      expect(ended, ended.stderr).toMatchObject({ code: null, signal: 'SIGTERM' })
      const report = ended.report as Report
      const row = report.hooks.find(({ name, phase }) => name === 'http' && phase === 'drain') as ReportedHook
      return { ...ended, report, row }
    },
  }
}

export const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`
export const post = (path: string, body: string, fields = `Content-Length: ${body.length}\r\n`) =>
  `POST ${path} HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n${body}`
