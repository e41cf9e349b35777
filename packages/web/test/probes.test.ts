import { once } from 'node:events'
import { connect as connectH2 } from 'node:http2'
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { expect, test } from 'vitest'
import { type Program, type ProgramOptions, start } from '../../exodos/test/support/program.js'
import { type ProbesOptions, probes } from '../src/probes/probes.js'
import { cert, key } from './support/certificate.js'

/** Programs print their port, and run the lines that they are sent. */
const prelude = `
import { drainHttp, notReady, probes, ready } from '@exodos/web'
import { exit, onExit, runExitHooks } from 'exodos'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
const say = (text) => writeSync(1, text + '\\n')
let lines = 0
const listen = () => createInterface({ input: process.stdin }).on('line', async (line) => {
  await (0, eval)('(async () => { ' + line + ' })()')
  say('line ' + ++lines + ' done')
})
/** A hook that lasts until go() is called. */
const stay = (phase) => onExit(() => { say('in ' + phase); return new Promise((resolve) => { globalThis.go = resolve }) }, { phase, name: phase })
const pem = () => (${JSON.stringify({ key, cert })})
Object.assign(globalThis, { say, ready, notReady, runExitHooks, exit })
`
/** Probes on a port of their own. */
const alone = (options = '') => `${prelude}
globalThis.state = {}
const p = probes({ port: 0, ${options} })
say('port ' + (await p.listening).port)
listen()`

interface Remote extends Program {
  port: number
  /** Runs a line in the program. */
  tell(line: string): Promise<void>
}

async function begin(source: string, options: ProgramOptions = {}): Promise<Remote> {
  const program = start(source, { stdio: ['pipe', 'pipe', 'pipe'], ...options })
  let lines = 0
  await program.until('port ')
  const port = Number(/port (\d+)\n/.exec(program.printed())?.[1])
  const tell = (line: string) => {
    program.child.stdin?.write(`${line}\n`)
    return program.until(`line ${++lines} done`)
  }
  return { ...program, port, tell }
}

interface Answer {
  code: number
  head: string
  // biome-ignore lint/suspicious/noExplicitAny: whatever was answered
  body: any
}

/** One request on a connection of its own, which the server is to close. Rejects when it is refused. */
async function ask(
  port: number,
  path: string,
  method = 'GET',
  open: () => Socket = () => connect(port, '127.0.0.1'),
): Promise<Answer> {
  const socket = open()
  let text = ''
  socket.setEncoding('utf8').on('data', (data: string) => {
    text += data
  })
  socket.write(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
  await once(socket, 'end')
  socket.destroy()
  const [head = '', body = ''] = text.split('\r\n\r\n')
  return { code: Number(head.split(' ')[1]), head, body: body.startsWith('{') ? JSON.parse(body) : body }
}

const codes = async (port: number) => {
  const all = await Promise.all(['/live', '/ready', '/startup'].map((path) => ask(port, path)))
  return all.map(({ code }) => code)
}

test('each state has its answers', async () => {
  const program = await begin(alone(`checks: { db: () => { if (state.error) throw state.error } }`))
  const table: [line: string, live: number, ready: number, startup: number, body: unknown][] = [
    ['', 200, 503, 503, { status: 'not ready', checks: {} }],
    ['notReady("migrating")', 200, 503, 503, { status: 'not ready', reason: 'migrating', checks: {} }],
    ['ready()', 200, 200, 200, { status: 'ok', checks: { db: { status: 'ok' } } }],
    ['notReady()', 200, 503, 200, { status: 'not ready', checks: {} }],
    ['ready(); ready()', 200, 200, 200, { status: 'ok', checks: { db: { status: 'ok' } } }],
    [
      'state.error = new Error("gone")',
      200,
      503,
      200,
      { status: 'not ready', checks: { db: { status: 'failed', error: 'gone' } } },
    ],
    ['state.error = undefined', 200, 200, 200, { status: 'ok', checks: { db: { status: 'ok' } } }],
  ]
  for (const [line, live, ready, startup, body] of table) {
    await program.tell(line)
    expect(await codes(program.port), line).toEqual([live, ready, startup])
    expect((await ask(program.port, '/ready')).body, line).toMatchObject(body as object)
  }
  program.kill('SIGTERM')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

test('while the process leaves it is alive and never ready again; refused at the very end', async () => {
  const phases = ['announce', 'drain', 'save', 'release', 'flush']
  const program = await begin(`${alone()}\nready(); for (const phase of ${JSON.stringify(phases)}) stay(phase)`)
  expect(await codes(program.port)).toEqual([200, 200, 200])
  program.kill('SIGTERM')
  for (const phase of phases) {
    await program.until(`in ${phase}\n`)
    await program.tell('notReady(); ready()')
    if (phase === 'flush') break
    expect(await codes(program.port), phase).toEqual([200, 503, 200])
    expect((await ask(program.port, '/ready')).body, phase).toEqual({ status: 'leaving', checks: {} })
    await program.tell('go()')
  }
  await expect(ask(program.port, '/live')).rejects.toMatchObject({ code: 'ECONNREFUSED' })
  program.child.stdin?.write('go()\n')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', code: null, stderr: '' })
})

test('who asks for readiness when leaving begins is told at once', async () => {
  const hangs = `{ hangs: { check: () => { say('asked'); return new Promise(() => {}) }, timeout: '1m' } }`
  const program = await begin(`${alone(`checks: ${hangs}`)}\nready(); stay('drain')`)
  const answer = ask(program.port, '/ready')
  await program.until('asked')
  program.kill('SIGTERM')
  expect(await answer).toMatchObject({ code: 503, body: { status: 'leaving', checks: {} } })
  program.child.stdin?.write('go()\n')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

test('after an explicit run of the hooks a new life begins', async () => {
  const program = await begin(`${prelude}
import { createServer } from 'node:http'
const server = createServer().listen(0, '127.0.0.1', () => { say('port ' + server.address().port); listen() })
probes({ server }); ready(); stay('drain')`)
  await program.tell('runExitHooks().then(() => say("ran"))')
  await program.until('in drain')
  expect(await codes(program.port)).toEqual([200, 503, 200])
  await program.tell('go()')
  await program.until('ran\n')
  expect(await codes(program.port)).toEqual([200, 503, 200])
  await program.tell('ready()')
  expect(await codes(program.port)).toEqual([200, 200, 200])
  program.kill('SIGTERM')
  expect((await program.ended).report?.hooks.map(({ name }) => name)).toEqual(['readiness'])
})

const failing: [name: string, check: string, error: RegExp][] = [
  ['throws', `() => { throw new Error('sync') }`, /^sync$/],
  ['rejects', `async () => { throw new TypeError('first\\n    at second') }`, /^first$/],
  ['rejects with a stack', `async () => { throw new Error('x').stack }`, /^Error: x$/],
  [
    'rejects with an error without a message',
    `async () => { throw Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }) }`,
    /^ECONNREFUSED$/,
  ],
  ['rejects with nothing', `() => Promise.reject()`, /^undefined$/],
  ['rejects with what can not be shown', `() => Promise.reject({ get message() { throw 1 } })`, /^failed$/],
  ['answers false', `async () => false`, /^it answered false$/],
  ['hangs', `{ check: () => new Promise(() => {}), timeout: 50 }`, /^no answer within 50 ms$/],
  [
    'heeds its signal',
    `{ check: ({ signal }) => new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason))), timeout: '50ms' }`,
    /^no answer within 50 ms$/,
  ],
]

test.each(failing)('a check that %s fails, and says why in a line', async (_, check, error) => {
  const program = await begin(`${alone(`checks: { bad: ${check}, good: async () => true }`)}\nready()`)
  const { code, body } = await ask(program.port, '/ready')
  expect(code).toBe(503)
  expect(body.checks.bad.error).toMatch(error)
  expect(body).toMatchObject({ status: 'not ready', checks: { bad: { status: 'failed' }, good: { status: 'ok' } } })
  expect(await codes(program.port)).toEqual([200, 503, 200])
})

test('a check is never run twice at a time, checks run at the same time', async () => {
  const program = await begin(
    alone(`checks: {
    a: () => { say('a'); return new Promise((resolve) => { state.a = resolve }) },
    b: () => { say('b'); return new Promise((resolve) => { state.b = resolve }) },
  }`),
  )
  await program.tell('ready()')
  const answers = Array.from({ length: 20 }, () => ask(program.port, '/ready'))
  await program.until('a\nb\n')
  await program.tell('setTimeout(() => { state.a(); state.b() }, 100)')
  for (const { code } of await Promise.all(answers)) expect(code).toBe(200)
  expect(program.printed().match(/^[ab]$/gm)).toEqual(['a', 'b'])
  const next = ask(program.port, '/ready')
  await program.until('a\nb\nline 2 done\na\nb\n')
  await program.tell('state.a(); state.b()')
  expect((await next).code).toBe(200)
})

test('a check that ignores its signal is failing, and not called again, until it is back', async () => {
  const program = await begin(
    alone(`checks: { db: { timeout: 50, check: ({ signal }) => {
    say('called'); signal.addEventListener('abort', () => say('aborted')); return new Promise((resolve) => { state.back = resolve })
  } } }`),
  )
  await program.tell('ready()')
  for (let i = 0; i < 3; i++) expect((await ask(program.port, '/ready')).code).toBe(503)
  expect(program.printed().match(/called|aborted/g)).toEqual(['called', 'aborted'])
  await program.tell('state.back()')
  expect((await ask(program.port, '/ready')).code).toBe(503)
  expect(program.printed().match(/called/g)).toHaveLength(2)
})

test('a result is kept for as long as said', async () => {
  const program = await begin(alone(`checks: { kept: { check: () => say('kept'), cache: '1h' }, fresh: () => say('fresh') }`))
  await program.tell('ready()')
  for (let i = 0; i < 3; i++) expect((await ask(program.port, '/ready')).code).toBe(200)
  expect(program.printed().match(/kept|fresh/g)).toEqual(['kept', 'fresh', 'fresh', 'fresh'])
})

test('methods and paths', async () => {
  const program = await begin(alone(`live: '/healthz/live'`))
  const table: [method: string, path: string, code: number, body: unknown][] = [
    ['GET', '/healthz/live', 200, { status: 'ok' }],
    ['GET', '/healthz/live?verbose', 200, { status: 'ok' }],
    ['HEAD', '/healthz/live', 200, ''],
    ['HEAD', '/ready', 503, ''],
    ['POST', '/healthz/live', 405, ''],
    ['OPTIONS', '/ready', 405, ''],
    ['GET', '/live', 404, ''],
    ['GET', '/healthz/live/', 404, ''],
  ]
  for (const [method, path, code, body] of table) {
    const answer = await ask(program.port, path, method)
    expect([answer.code, answer.body], `${method} ${path}`).toEqual([code, body])
    if (code !== 404) expect(answer.head).toMatch(/^cache-control: no-store/im)
    if (method === 'HEAD') expect(answer.head).toMatch(/^content-length: [1-9]/im)
    if (code === 405) expect(answer.head).toMatch(/^allow: GET, HEAD/im)
  }
})

test.each([
  [
    `const p = probes({ port: Number(process.env.PORT) })`,
    1,
    /probes: listen EADDRINUSE: address already in use 127\.0\.0\.1:\d+/,
  ],
  [`probes({ port: Number(process.env.PORT) }).listening.catch(({ code, message }) => say(code + ' ' + message))`, 0, /^$/],
])('a port that is taken is told: %s', async (line, code, stderr) => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = taken.address() as { port: number }
  const ended = await start(`${prelude}\n${line}`, { env: { PORT: String(port) } }).ended
  taken.close()
  expect(ended.code).toBe(code)
  expect(ended.stderr).toMatch(stderr)
  if (code === 0) expect(ended.stdout).toContain('EADDRINUSE probes: listen')
})

test.each([
  ['nothing else', '', 0],
  ['an exit code', 'process.exitCode = 3', 3],
  [
    'an idle client',
    `const { connect } = await import('node:net'); const c = connect(p.port, '127.0.0.1').unref(); await once(c, 'connect')`,
    0,
  ],
  [
    'a hanging check',
    `import('node:http').then((http) => http.get({ port: p.port, path: '/ready' }, () => {}).on('error', () => {}).once('socket', (s) => s.unref()))
    await asked`,
    0,
  ],
])('probes alone hold no process, and leave its exit code: %s', async (_, line, code) => {
  const ended = await start(`${prelude}
let isAsked; const asked = new Promise((resolve) => { isAsked = resolve })
const p = await probes({ port: 0, checks: { hangs: () => { isAsked(); return new Promise(() => {}) } } }).listening
say(p.address); ready()
${line}`).ended
  expect(ended).toMatchObject({ code, signal: null, stdout: '127.0.0.1\n', stderr: '' })
  expect(ended.ms).toBeLessThan(4000)
})

test('with host it is bound to that address', async () => {
  const ended = await start(`${prelude}\nsay((await probes({ port: 0, host: '0.0.0.0' }).listening).address)`).ended
  expect(ended.stdout).toBe('0.0.0.0\n')
})

test('closed by hand it answers no more, and its hook is gone', async () => {
  const ended = await start(
    `${prelude}
const p = probes({ port: 0 })
const { port } = await p.listening
await p[Symbol.asyncDispose]()
say(await fetch('http://127.0.0.1:' + port + '/live').catch(({ cause }) => cause.code))
probes({ port: 0 })`,
  ).ended
  expect(ended).toMatchObject({ code: 0, stdout: 'ECONNREFUSED\n' })
  expect(ended.report?.hooks.map(({ name }) => name)).toEqual(['readiness', 'probes'])
})

/** Servers that answer `/` with "app". Each sets `server`, then calls `up` and listens. */
const apps: [name: string, kind: 'h1' | 'tls' | 'h2' | 'h2 tls', source: string][] = [
  [
    'node:http',
    'h1',
    `import { createServer } from 'node:http'
const server = createServer((_, response) => response.end('app')); up(server); server.listen(0, '127.0.0.1')`,
  ],
  [
    'node:https',
    'tls',
    `import { createServer } from 'node:https'
const server = createServer(pem(), (_, response) => response.end('app')); up(server); server.listen(0, '127.0.0.1')`,
  ],
  [
    'http2',
    'h2',
    `import { createServer } from 'node:http2'
const server = createServer((_, response) => response.end('app')); up(server); server.listen(0, '127.0.0.1')`,
  ],
  [
    'http2 with TLS',
    'h2 tls',
    `import { createSecureServer } from 'node:http2'
const server = createSecureServer(pem(), (_, response) => response.end('app')); up(server); server.listen(0, '127.0.0.1')`,
  ],
  [
    'HTTP/1 at http2 with TLS',
    'tls',
    `import { createSecureServer } from 'node:http2'
const server = createSecureServer({ ...pem(), allowHTTP1: true }, (_, response) => response.end('app')); up(server); server.listen(0, '127.0.0.1')`,
  ],
  [
    'express',
    'h1',
    `import express from 'express'
const server = express().get('/', (_, response) => void response.send('app')).listen(0, '127.0.0.1'); up(server)`,
  ],
  [
    'fastify',
    'h1',
    `import fastify from 'fastify'
const app = fastify({ forceCloseConnections: false }).get('/', async () => 'app')
const { server } = app; up(server); await app.listen({ port: 0, host: '127.0.0.1' })`,
  ],
  [
    'koa',
    'h1',
    `import Koa from 'koa'
const server = new Koa().use((ctx) => { ctx.body = 'app' }).listen(0, '127.0.0.1'); up(server)`,
  ],
  [
    'hono',
    'h1',
    `import { serve } from '@hono/node-server'; import { Hono } from 'hono'
const server = serve({ fetch: new Hono().get('/', (c) => c.text('app')).fetch, port: 0, hostname: '127.0.0.1' }); up(server)`,
  ],
]
const drain = 'drainHttp(server, { firstRequest: 0, linger: 0 })'
const orders: [name: string, first: string, then: string][] = [
  ['alone', '', ''],
  ['after drainHttp', drain, ''],
  ['before drainHttp', '', drain],
]

/** One request, in the protocol that the server speaks. */
async function askIn(kind: string, port: number, path: string, method = 'GET'): Promise<{ code: number; body: string }> {
  if (kind === 'h1') return ask(port, path, method)
  if (kind === 'tls') return ask(port, path, method, () => connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }))
  const session = connectH2(`${kind === 'h2' ? 'http' : 'https'}://127.0.0.1:${port}`, { rejectUnauthorized: false })
  const stream = session.request({ ':path': path, ':method': method }).setEncoding('utf8')
  const [head] = await once(stream, 'response')
  let body = ''
  for await (const data of stream) body += data
  session.close()
  return { code: head[':status'], body: body.startsWith('{') ? JSON.parse(body) : body }
}

const cells = apps.flatMap(([app, kind, source]) =>
  orders.map(([order, first, then]) => ({ app, kind, source, order, first, then })),
)

test.each(cells)('on the server of $app, $order', async ({ kind, source, first, then }) => {
  const program = await begin(`${prelude}
const counts = (server) => JSON.stringify(server.eventNames().map((name) => [String(name), server.listenerCount(name)]))
let p
const up = (server) => {
  server.once('listening', () => { say('port ' + server.address().port); listen() })
  ${first}
  const before = counts(server)
  const { emit } = server
  p = probes({ server })
  say(counts(server) === before ? 'same listeners' : counts(server) + before)
  p.close()
  say(server.emit === emit ? 'restored' : 'not restored')
  p = probes({ server })
  ${then}
  stay('announce')
}
${source}`)
  expect(program.printed()).toMatch(/^same listeners\nrestored\n/)
  const see = async (...asked: [path: string, method?: string][]) => {
    const all = await Promise.all(asked.map(([path, method]) => askIn(kind, program.port, path, method)))
    return all.map(({ code, body }) => [code, typeof body === 'object' ? (body as { status: string }).status : body])
  }
  expect(await see(['/live'], ['/ready'], ['/startup'])).toEqual([
    [200, 'ok'],
    [503, 'not ready'],
    [503, 'not ready'],
  ])
  await program.tell('ready()')
  expect(await see(['/live'], ['/ready'], ['/ready', 'HEAD'], ['/live', 'POST'])).toEqual([
    [200, 'ok'],
    [200, 'ok'],
    [200, ''],
    [405, ''],
  ])
  if (kind.startsWith('h2')) expect(await see(['/'])).toEqual([[200, 'app']])
  else expect(await appAnswers(kind, program.port)).toBe(true)
  program.kill('SIGTERM')
  await program.until('in announce')
  expect(await see(['/live'], ['/ready'], ['/startup'])).toEqual([
    [200, 'ok'],
    [503, 'leaving'],
    [200, 'ok'],
  ])
  program.child.stdin?.write('go()\n')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

/** The app keeps its connections open, as it did before. */
async function appAnswers(kind: string, port: number): Promise<boolean> {
  const socket = kind === 'tls' ? connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false }) : connect(port, '127.0.0.1')
  let text = ''
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  for await (const data of socket) {
    text += data
    if (text.includes('app')) break
  }
  return /^connection: keep-alive/im.test(text) || kind === 'tls'
}

test('while a server drains, its probes are answered on connections kept open, and close them', async () => {
  const program = await begin(`${prelude}
import { createServer } from 'node:http'
const server = createServer((request, response) => response.end('app'))
server.listen(0, '127.0.0.1', () => { say('port ' + server.address().port); listen() })
probes({ server }); ready(); stay('drain')`)
  const socket = connect(program.port, '127.0.0.1').setEncoding('utf8')
  const read = async (part: string) => {
    let text = ''
    for await (const data of socket.iterator({ destroyOnReturn: false })) {
      text += data
      if (text.includes(part)) break
    }
    return text
  }
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await read('app')
  program.kill('SIGTERM')
  await program.until('in drain')
  socket.write('GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const text = await read('leaving')
  expect(text).toMatch(/^HTTP\/1.1 503 /)
  expect(text).toMatch(/^connection: close/im)
  program.child.stdin?.write('go()\n')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

test('while drainHttp answers its last request, a port of its own is alive and not ready', async () => {
  const program = await begin(`${prelude}
import { createServer } from 'node:http'
const server = createServer((_, response) => { say('asked'); globalThis.go = () => response.end('app') }).listen(0, '127.0.0.1')
await once(server, 'listening')
const own = await probes({ port: 0 }).listening
say('app ' + server.address().port + ' port ' + own.port)
drainHttp(server, { firstRequest: 0, linger: 0 }); ready(); listen()
onExit(() => say('in drain'), { phase: 'drain' })`)
  const app = Number(/app (\d+)/.exec(program.printed())?.[1])
  const last = ask(app, '/')
  await program.until('asked')
  program.kill('SIGTERM')
  await program.until('in drain')
  expect(await codes(program.port)).toEqual([200, 503, 200])
  program.child.stdin?.write('go()\n')
  expect(await last).toMatchObject({ code: 200, body: 'app' })
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

test('a client that goes away before its answer harms nobody', async () => {
  const program = await begin(`${prelude}
import { createServer } from 'node:http2'
const server = createServer((_, response) => response.end('app'))
server.listen(0, '127.0.0.1', () => { say('port ' + server.address().port); listen() })
probes({ server, checks: { slow: () => { say('asked'); return new Promise((resolve) => { globalThis.go = resolve }) } } }); ready()`)
  const session = connectH2(`http://127.0.0.1:${program.port}`)
  const stream = session.request({ ':path': '/ready' })
  stream.on('error', () => {})
  await program.until('asked')
  stream.close(8)
  await once(stream, 'close')
  session.close()
  await program.tell('go()')
  expect((await askIn('h2', program.port, '/live')).code).toBe(200)
  program.kill('SIGTERM')
  expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
})

test.each<[string, unknown, RegExp]>([
  ['nothing', undefined, /^probes\(options\): expected an object, got undefined$/],
  ['neither port nor server', {}, /^probes\(options\): expected either port or server, got "neither"$/],
  ['both', { port: 0, server: createServer() }, /^probes\(options\): expected either port or server, got "both"$/],
  ['an unknown option', { port: 0, livez: '/x' }, /^probes\(options\): expected one of server, port, .*, got "livez"$/],
  ['a port of text', { port: '80' }, /^options\.port: expected an integer from 0 to 65535, got "80"$/],
  ['a port out of range', { port: 65_536 }, /^options\.port: .*, got 65536$/],
  [
    'an app for a server',
    { server: () => {} },
    /^options\.server: expected a server of node:http, node:https or node:http2, got function server$/,
  ],
  ['no host', { port: 0, host: '' }, /^options\.host: expected an address, got ""$/],
  ['a host beside a server', { server: createServer(), host: '::' }, /^options\.host: expected nothing beside server, got "::"$/],
  [
    'a path without its slash',
    { port: 0, ready: 'ready' },
    /^options\.ready: expected a path that begins with '\/', without a query, got "ready"$/,
  ],
  ['a path with a query', { port: 0, live: '/live?x' }, /^options\.live: .*, got "\/live\?x"$/],
  [
    'one path for two probes',
    { port: 0, live: '/health', ready: '/health' },
    /^options\.ready: expected a path of its own, got "\/health"$/,
  ],
  ['checks that are none', { port: 0, checks: null }, /^options\.checks: expected an object, got null$/],
  [
    'a check that is none',
    { port: 0, checks: { db: 'db' } },
    /^options\.checks\.db: expected a function, or an object with check, got "db"$/,
  ],
  [
    'a check without its function',
    { port: 0, checks: { db: {} } },
    /^options\.checks\.db\.check: expected a function, got undefined$/,
  ],
  [
    'a misspelt option of a check',
    { port: 0, checks: { db: { check() {}, tmeout: 1 } } },
    /^options\.checks\.db: expected one of check, timeout, cache, got "tmeout"$/,
  ],
  [
    'a timeout that can not be read',
    { port: 0, checks: { db: { check() {}, timeout: 'soon' } } },
    /^options\.checks\.db\.timeout: .*, got "soon"$/,
  ],
])('%s: a clear error at the call', (_, options, message) => {
  expect(() => probes(options as ProbesOptions)).toThrow(message)
  expect(() => probes(options as ProbesOptions)).toThrow(expect.objectContaining({ code: 'ERR_EXODOS_INVALID_ARG' }))
})

test('the import starts nothing', async () => {
  const ended = await start(`
// But for the standard streams: on some versions of Node the import of node:http2 opens stderr.
const look = () => JSON.stringify([process.eventNames(), process.getActiveResourcesInfo().filter((kind) => kind !== 'PipeWrap')])
const before = look()
const { probes } = await import('@exodos/web')
console.log(look() === before, typeof probes)`).ended
  expect(ended).toMatchObject({ code: 0, stdout: 'true function\n', stderr: '' })
})
