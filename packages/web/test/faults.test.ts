import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { run, start } from '../../exodos/test/support/program.js'
import type { DrainStats } from '../src/drain/stats.js'
import { type App, appSource, get, post, type Scheme, startApp, web } from './support/app.js'
import { ask, h2 } from './support/h2.js'
import { type Case, together } from './support/together.js'

const http1: Scheme[] = ['http', 'https']
const http2: Scheme[] = ['h2c', 'h2']
const over = (schemes: Scheme[], show: (scheme: Scheme) => Promise<void>) => Promise.all(schemes.map(show))
const each = (schemes: Scheme[], name: string, show: (scheme: Scheme) => Promise<void>): Case[] =>
  schemes.map((scheme) => [`${scheme}: ${name}`, () => show(scheme)])

/** A request under way whose handler waits for `go`. */
async function held(app: App, path = '/held') {
  const wire = await app.connect()
  await wire.send(get(path))
  await app.until(`request ${path}`)
  return wire
}

/** A connection that has been used, and is kept alive. */
async function idle(app: App) {
  const wire = await app.connect()
  await wire.send(get('/now'))
  const [answer] = await wire.answers()
  expect(answer?.headers['connection']).toBe('keep-alive')
  return wire
}

/** Nothing was cut, there is nothing to tell, and it took no longer than it has to. Returns what it tells of itself. */
async function leavesWell(app: App, most = 2000, said: unknown = ''): Promise<DrainStats> {
  const { row, report, stderr } = await app.gone()
  expect({ status: row.status, stderr, isSoon: report.duration < most }).toEqual({ status: 'ok', stderr: said, isSoon: true })
  expect(row.result).toMatchObject({ state: 'drained', cut: { requests: 0 } })
  return row.result as DrainStats
}

/** Nobody but the deadline can end this; the report says what it was. */
async function isCut(scheme: Scheme, what: string, begin: (app: App) => Promise<{ closed: Promise<unknown> }>): Promise<void> {
  const app = await startApp({ scheme, grace: '2s' })
  const { closed } = await begin(app)
  app.kill('SIGTERM')
  const { report, row, lines, stderr } = await app.gone()
  await closed
  expect(report.duration).toBeLessThan(2500)
  expect(row.end).toBeGreaterThan(500)
  expect(lines).toContain('released')
  expect(row).toMatchObject({
    status: 'failed',
    error: { code: 'ERR_EXODOS_DRAIN', message: expect.stringContaining(what) },
    result: { state: 'drained', cut: { requests: 1 } },
  })
  expect(stderr).toContain(what)
}

together('what is answered', [
  [
    'E59 requests in flight are all answered',
    () =>
      over(['http', 'https', 'h2c', 'h2'], async (scheme) => {
        const app = await startApp({ scheme })
        const isHttp1 = http1.includes(scheme)
        const wires = isHttp1 ? [await held(app), await held(app), await held(app)] : []
        const session = isHttp1 ? undefined : await h2(app)
        const asked = session ? Array.from({ length: 3 }, () => ask(session, '/held')) : []
        await app.until('request /held\n'.repeat(3))
        await app.term()
        app.go()
        for (const wire of wires) {
          expect(await wire.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'held' }])
          expect(await wire.closed).toBe('FIN')
        }
        for (const answer of asked) expect(await answer).toEqual({ status: 200, body: 'held', code: 0 })
        await leavesWell(app)
      }).then(() => {}),
  ],
  [
    'E60 a request on a kept-alive connection is answered with Connection: close',
    () =>
      // A client of HTTP/1 at a server of HTTP/2 is one, too.
      over([...http1, 'h2'], async (scheme) => {
        const app = await startApp({ scheme, drain: `linger: '10s'` })
        const wires = [await idle(app), await idle(app)]
        await app.term()
        for (const wire of wires) {
          await wire.send(get('/now'))
          const [, answer] = await wire.answers(2)
          expect(answer).toMatchObject({ status: 200, headers: { connection: 'close' }, body: 'now' })
          expect(await wire.closed).toBe('FIN')
        }
        await leavesWell(app)
      }).then(() => {}),
  ],
  ...each([...http1, 'h2'], 'an answer whose head was sent with keep-alive comes to its end, then FIN', async (scheme) => {
    const app = await startApp({ scheme })
    const wire = await held(app, '/drip')
    await wire.until('head,')
    await app.term()
    app.go()
    expect(await wire.answers()).toMatchObject([{ headers: { connection: 'keep-alive' }, body: 'head,tail' }])
    expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(http1, 'pipelined requests in one packet, a synchronous handler: all answered, in order', async (scheme) => {
    const app = await startApp({ scheme, setup: numbered('') })
    const wire = await idle(app)
    await app.term()
    await wire.send([1, 2, 3, 4, 5].map((n) => get(`/${n}`)).join(''))
    const answers = await wire.answers(6)
    expect(answers.slice(1).map(({ body }) => body)).toEqual(['1', '2', '3', '4', '5'])
    expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(http1, 'pipelined requests in one packet, a slow handler: all answered, in order', async (scheme) => {
    const app = await startApp({ scheme, setup: numbered('await go(); await sleep(60 - 10 * n)') })
    const wire = await app.connect()
    await wire.send([1, 2, 3, 4, 5].map((n) => get(`/${n}`)).join(''))
    await app.until('request /5')
    await app.term()
    app.go()
    expect((await wire.answers(5)).map(({ body }) => body)).toEqual(['1', '2', '3', '4', '5'])
    expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(
    http1,
    'pipelined requests of which a slow one was under way: those sent meanwhile are answered, too',
    async (scheme) => {
      const app = await startApp({ scheme, setup: numbered('await go()') })
      const wire = await app.connect()
      await wire.send(get('/1') + get('/2'))
      await app.until('request /2')
      await app.term()
      await wire.send(get('/3'))
      await app.until('request /3')
      app.go()
      expect((await wire.answers(3)).map(({ body }) => body)).toEqual(['1', '2', '3'])
      expect(await wire.closed).toBe('FIN')
      await leavesWell(app)
    },
  ),
  ...each(http1, '30 MB arrive whole at a slow reader', async (scheme) => {
    const app = await startApp({ scheme, grace: '10s' })
    const wire = await held(app, '/large')
    wire.socket.pause()
    wire.socket.on('data', () => {
      wire.socket.pause()
      setTimeout(() => wire.socket.resume(), 1)
    })
    await app.term()
    wire.socket.resume()
    expect(await wire.closed).toBe('FIN')
    const text = wire.received()
    expect(text.length - text.indexOf('\r\n\r\n') - 4).toBe(30_000_000)
    await leavesWell(app, 9000)
  }),
  [
    'HEAD: no body, then FIN',
    async () => {
      const app = await startApp()
      const wire = await app.connect()
      await wire.send(get('/held').replace('GET', 'HEAD'))
      await app.until('request /held')
      await app.term()
      app.go()
      expect(await wire.answers(1, { head: true })).toMatchObject([{ status: 200, headers: { connection: 'close' } }])
      expect(await wire.closed).toBe('FIN')
      expect(wire.received()).toMatch(/\r\n\r\n$/)
      await leavesWell(app)
    },
  ],
  ...['', 'server.on("checkContinue", (request, response) => { response.writeContinue(); handle(request, response) })'].map(
    (setup): Case => [
      `Expect: 100-continue ${setup && 'with a listener of the program '}while draining: the body is asked for, and answered`,
      async () => {
        const app = await startApp({ setup })
        const wire = await idle(app)
        await app.term()
        await wire.send(post('/upload', '', 'Content-Length: 5\r\nExpect: 100-continue\r\n'))
        await wire.until('100 Continue')
        await wire.send('hello')
        const answers = await wire.answers(3)
        expect(answers[2]).toMatchObject({ status: 200, headers: { connection: 'close' }, body: 'got 5' })
        expect(await wire.closed).toBe('FIN')
        await leavesWell(app)
      },
    ],
  ),
  [
    'trailers of the request and of the answer arrive',
    async () => {
      const app = await startApp({
        setup: `routes['/trailers'] = async (request, response) => {
          for await (const chunk of request) ;
          response.writeHead(200, { trailer: 'x-sum' }).write('body')
          await go()
          response.addTrailers({ 'x-sum': request.trailers['x-sum'] })
          response.end()
        }`,
      })
      const wire = await idle(app)
      await app.term()
      await wire.send(`${post('/trailers', '', 'Transfer-Encoding: chunked\r\n')}5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n`)
      await wire.until('body')
      app.go()
      const [, answer] = await wire.answers(2)
      expect(answer).toMatchObject({ headers: { connection: 'close' }, body: 'body', trailers: { 'x-sum': '7' } })
      expect(await wire.closed).toBe('FIN')
      await leavesWell(app)
    },
  ],
  [
    'a client that has sent FIN after its request: closed as Node closes it, answered where the server allows it',
    async () => {
      for (const allowed of [false, true]) {
        const app = await startApp({ setup: `server.httpAllowHalfOpen = ${allowed}` })
        const wire = await app.connect({ halfOpen: true })
        wire.socket.end(get('/held'))
        await app.until('request /held')
        await app.term()
        app.go()
        if (allowed) expect(await wire.answers()).toMatchObject([{ status: 200, body: 'held' }])
        expect(await wire.closed).toBe('FIN')
        await leavesWell(app)
      }
    },
  ],
  ...each(
    http1,
    'requests that arrive while the event loop is blocked across the end of the linger are answered',
    async (scheme) => {
      const app = await startApp({
        scheme,
        setup: `onExit(async () => {
        await sleep(200)
        const until = performance.now() + 400
        say('blocked')
        readSync(0, Buffer.alloc(1))
        while (performance.now() < until) ;
      }, { name: 'block', phase: 'drain' })`,
      })
      const wires = await Promise.all(Array.from({ length: 10 }, () => idle(app)))
      app.kill('SIGTERM')
      await app.until('blocked')
      await Promise.all(wires.map((wire) => wire.send(get('/now'))))
      app.go()
      for (const wire of wires) {
        const [, answer] = await wire.answers(2)
        expect(answer).toMatchObject({ status: 200, headers: { connection: 'close' } })
        expect(await wire.closed).toBe('FIN')
      }
      await leavesWell(app, 2000, expect.any(String))
    },
  ),
])

/** Paths /1 … /5 that answer with their number. */
function numbered(before: string): string {
  return `for (const n of [1, 2, 3, 4, 5]) routes['/' + n] = async (request, response) => { ${before}; response.end(String(n)) }`
}

together('what is silent', [
  [
    'E61 a connection that has sent nothing is closed after a grace, with FIN',
    () =>
      over(['http', 'https', 'h2c', 'h2'], async (scheme) => {
        const app = await startApp({ scheme })
        const wire = await app.connect()
        await app.term()
        expect(await wire.closed).toBe('FIN')
        // Time to send what may be under way, and no more.
        expect((await leavesWell(app)).duration).toBeGreaterThan(250)
      }).then(() => {}),
  ],
  [
    'a first request, or the rest of its head, within that grace is answered',
    async () => {
      const app = await startApp({ drain: `firstRequest: '10s'` })
      const [silent, half] = [await app.connect(), await app.connect()]
      await half.send('GET /now HTTP/1.1\r\nHo')
      await app.term()
      await silent.send(get('/now'))
      await half.send('st: localhost\r\n\r\n')
      for (const wire of [silent, half]) {
        expect(await wire.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' } }])
        expect(await wire.closed).toBe('FIN')
      }
      await leavesWell(app)
    },
  ],
  ...each(http1, 'half a head that is never completed is closed, with FIN: the first one, and a later one', async (scheme) => {
    const app = await startApp({ scheme })
    const wires = [await app.connect(), await idle(app)]
    for (const wire of wires) await wire.send('GET /now HTTP/1.1\r\nHo')
    await app.term()
    for (const wire of wires) expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(http1, 'an idle connection is closed after the linger, with FIN', async (scheme) => {
    const app = await startApp({ scheme })
    const wire = await idle(app)
    await app.term()
    expect(await wire.closed).toBe('FIN')
    const { duration } = await leavesWell(app)
    expect(duration).toBeGreaterThan(250)
  }),
  ...each(http2, 'an idle session is told, and closed', async (scheme) => {
    const app = await startApp({ scheme })
    const session = await h2(app)
    expect(await ask(session, '/now')).toMatchObject({ status: 200 })
    const goaway = new Promise((resolve) => session.once('goaway', resolve))
    await app.term()
    expect(await goaway).toBe(0)
    await leavesWell(app)
  }),
  ...['', '\x16\x03\x01'].flatMap((hello) =>
    each(['https', 'h2'], `a TLS handshake that ${hello ? 'never completes' : 'never begins'} is closed`, async (scheme) => {
      const app = await startApp({ scheme })
      const wire = await app.connect({ tls: false })
      if (hello) await wire.send(hello)
      await app.term()
      await wire.closed
      await leavesWell(app)
    }),
  ),
  ...(
    [
      ['no server listens', `setInterval(() => {}, 1000); say('ready'); await new Promise(() => {})`],
      ["before 'listening'", `server.listen(0, 'localhost'); process.kill(process.pid, 'SIGTERM'); await new Promise(() => {})`],
      [
        "'listening' comes while announcing",
        `onExit(() => new Promise((done) => server.listen(0, done)), { phase: 'announce' })`,
      ],
      ["'listening' comes while draining", `onExit(() => { server.listen(0) }, { phase: 'drain' })`],
    ] as const
  ).map(
    ([name, setup]): Case => [
      `SIGTERM, and ${name}`,
      async () => {
        const wait = `process.kill(process.pid, 'SIGTERM'); setInterval(() => {}, 1000); await new Promise(() => {})`
        const program = start(appSource({ setup: `${setup}\n${setup.includes('Promise(() =>') ? '' : wait}` }))
        if (setup.includes('ready')) await program.until('ready').then(() => program.kill('SIGTERM'))
        const { signal, stderr, report } = await program.ended
        expect({ signal, stderr }).toEqual({ signal: 'SIGTERM', stderr: '' })
        expect(report?.duration, JSON.stringify(report?.hooks)).toBeLessThan(1500)
      },
    ],
  ),
])

together('what stalls is cut at the deadline', [
  ...each(http1, 'a handler that never answers', (scheme) => isCut(scheme, 'GET /never', (app) => held(app, '/never'))),
  ...each(http1, 'a client that never reads', (scheme) =>
    isCut(scheme, 'GET /large', async (app) => {
      const wire = await app.connect()
      await wire.send(get('/large'))
      await app.until('request /large')
      wire.socket.pause()
      return { closed: app.ended.then(() => wire.socket.destroy()) }
    }),
  ),
  ...each(http1, 'an upload that never ends: the client has stopped', (scheme) =>
    isCut(scheme, 'POST /upload', async (app) => {
      const wire = await app.connect()
      await wire.send(post('/upload', 'some', 'Content-Length: 1000000\r\n'))
      await app.until('request /upload')
      return wire
    }),
  ),
  ...each(http1, 'an upload that never ends: the client goes on', (scheme) =>
    isCut(scheme, 'POST /upload', async (app) => {
      const wire = await app.connect()
      await wire.send(post('/upload', '', 'Content-Length: 1000000000\r\n'))
      await app.until('request /upload')
      const writing = setInterval(() => wire.socket.write('x'.repeat(1000)), 10)
      return { closed: wire.closed.finally(() => clearInterval(writing)) }
    }),
  ),
  ...each(http2, 'a stream that is never answered', (scheme) =>
    isCut(scheme, 'HTTP/2', async (app) => {
      const session = await h2(app)
      const answer = ask(session, '/never')
      await app.until('request /never')
      return { closed: answer }
    }),
  ),
  ...each(http2, 'a stream that is never read', (scheme) =>
    isCut(scheme, 'HTTP/2', async (app) => {
      const stream = (await h2(app)).request({ ':path': '/large' })
      stream.on('error', () => {})
      await app.until('request /large')
      return { closed: app.ended.then(() => stream.destroy()) }
    }),
  ),
  ...each(http2, 'a stream whose upload never ends', (scheme) =>
    isCut(scheme, 'HTTP/2', async (app) => {
      const stream = (await h2(app)).request({ ':path': '/upload', ':method': 'POST' })
      stream.on('error', () => {}).write('some')
      await app.until('request /upload')
      return { closed: new Promise((resolve) => stream.once('close', resolve)) }
    }),
  ),
  [
    'a second SIGTERM leaves at once',
    async () => {
      const app = await startApp({ grace: '10s' })
      const wire = await held(app, '/never')
      await app.term()
      // Within half a second it would be a repetition of the first.
      await sleep(700)
      app.kill('SIGTERM')
      const { report } = await app.gone()
      await wire.closed
      expect(report.forced).toBe(true)
      expect(report.duration).toBeLessThan(3000)
    },
  ],
  ...each(http1, 'signalFor: 503 shortly before the deadline, whole', async (scheme) => {
    const setup = `routes['/patient'] = (request, response) => {
      drain.signalFor(request).addEventListener('abort', () => { response.statusCode = 503; response.end('later') })
    }`
    const app = await startApp({ scheme, grace: '2s', setup })
    const wire = await held(app, '/patient')
    await app.term()
    expect(await wire.answers()).toMatchObject([{ status: 503, headers: { connection: 'close' }, body: 'later' }])
    expect(await wire.closed).toBe('FIN')
    const { report, row } = await app.gone()
    expect(row.status).toBe('ok')
    expect(report.duration).toBeLessThan(2500)
  }),
  ...each(http2, 'signalFor: 503 shortly before the deadline, whole', async (scheme) => {
    const setup = `routes['/patient'] = (request, response) => {
      drain.signalFor(request).addEventListener('abort', () => { response.statusCode = 503; response.end('later') })
    }`
    const app = await startApp({ scheme, grace: '2s', setup })
    const answer = ask(await h2(app), '/patient')
    await app.until('request /patient')
    await app.term()
    expect(await answer).toEqual({ status: 503, body: 'later', code: 0 })
    expect((await app.gone()).report.duration).toBeLessThan(2500)
  }),
  ...each(http1, "signalFor(request, 'draining'): a long poll is answered as the drain begins", async (scheme) => {
    const setup = `routes['/poll'] = (request, response) => {
      drain.signalFor(request, 'draining').addEventListener('abort', () => { response.statusCode = 204; response.end() })
    }`
    const app = await startApp({ scheme, grace: '5s', setup })
    const wire = await held(app, '/poll')
    await app.term()
    expect(await wire.answers()).toMatchObject([{ status: 204, headers: { connection: 'close' } }])
    expect(await wire.closed).toBe('FIN')
    const { report, row } = await app.gone()
    expect({ status: row.status, isSoon: report.duration < 1500 }).toEqual({ status: 'ok', isSoon: true })
  }),
  ...each(http1, 'a 503 to an upload whose client keeps writing arrives whole, 20 of 20', async (scheme) => {
    const setup = `routes['/upload'] = (request, response) => {
      request.on('error', () => {}).resume()
      drain.signalFor(request).addEventListener('abort', () => { response.statusCode = 503; response.end('later') })
    }`
    const app = await startApp({ scheme, setup, drain: `timeout: '1s'`, grace: '6s' })
    const wires = await Promise.all(Array.from({ length: 20 }, () => app.connect()))
    for (const wire of wires) await wire.send(post('/upload', '', 'Content-Length: 1000000000\r\n'))
    await app.until('request /upload\n'.repeat(20))
    const writing = setInterval(() => {
      for (const { socket } of wires) if (socket.writable) socket.write('x'.repeat(2000))
    }, 5)
    app.kill('SIGTERM')
    const answers = await Promise.allSettled(wires.map((wire) => wire.answers()))
    await Promise.all(wires.map(({ closed }) => closed))
    clearInterval(writing)
    const whole = answers.filter((one) => one.status === 'fulfilled' && one.value[0]?.body === 'later')
    expect(whole.length).toBe(20)
    expect((await app.gone()).report.duration).toBeLessThan(4000)
  }),
])

/** WebSockets by hand, so that nothing but the drain says goodbye; other upgrades and CONNECT echo. */
const upgrades = `
  const { createHash } = await import('node:crypto')
  const accept = (key) => createHash('sha1').update(key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest('base64')
  server.on('upgrade', (request, socket) => {
    say('upgrade')
    const { upgrade, 'sec-websocket-key': key } = request.headers
    socket.on('error', () => {})
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: ' + upgrade + '\\r\\n' +
      (key ? 'Sec-WebSocket-Accept: ' + accept(key) + '\\r\\n\\r\\n' : '\\r\\n'))
    if (key) socket.on('data', (data) => { if ((data[0] & 15) === 8) socket.end() })
    else socket.pipe(socket)
  })
  server.on('connect', (request, socket) => {
    socket.on('error', () => {}).write('HTTP/1.1 200 Connection Established\\r\\n\\r\\n')
    socket.pipe(socket)
  })`
const webSocket = get(
  '/',
  'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n',
)
const echo = get('/', 'Connection: Upgrade\r\nUpgrade: echo\r\n')
const tunnel = 'CONNECT somewhere:1 HTTP/1.1\r\nHost: somewhere:1\r\n\r\n'
const closing = '\x88\x02\x03\xe9'
/** What a client says in return: masked, with a key of zeros. */
const closed = Buffer.from('\x88\x82\0\0\0\0\x03\xe9', 'latin1')

async function upgraded(app: App, head: string, options = {}) {
  const wire = await app.connect(options)
  await wire.send(head)
  await wire.until('\r\n\r\n')
  return wire
}

/** An event stream that is written to every few milliseconds, whatever has become of it. */
const events = (also = '') => `routes['/events'] = (request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write('data: first\\n\\n')
  const more = setInterval(() => response.write('data: more\\n\\n'), 5)
  ${also}
}`

together('what goes on for long', [
  [
    'E62 a WebSocket, an upgrade and a tunnel are told, and closed at the deadline',
    () =>
      over(http1, async (scheme) => {
        const app = await startApp({ scheme, grace: '4s', drain: `timeout: '1500ms', ws: { timeout: '500ms' }`, setup: upgrades })
        const [polite, raw, connected] = [await upgraded(app, webSocket), await upgraded(app, echo), await upgraded(app, tunnel)]
        const deaf = [await upgraded(app, webSocket, { halfOpen: true }), await upgraded(app, echo, { halfOpen: true })]
        app.kill('SIGTERM')
        await polite.until(closing)
        await polite.send(closed)
        for (const wire of [polite, raw, connected]) expect(await wire.closed).toBe('FIN')
        await deaf[0]?.until(closing)
        const { report, lines } = await app.gone()
        expect(report.duration).toBeLessThan(2500)
        expect(lines).toContain('released')
        for (const { socket } of deaf) socket.destroy()
      }).then(() => {}),
  ],
  [
    'a WebSocket that does not answer is closed after ws.timeout, an upgrade that ends is not waited for any longer',
    async () => {
      const app = await startApp({ drain: `ws: { code: 1012, timeout: 300 }`, grace: '8s', setup: upgrades })
      const [silent, raw] = [await upgraded(app, webSocket), await upgraded(app, echo)]
      app.kill('SIGTERM')
      await silent.until('\x88\x02\x03\xf4')
      for (const wire of [silent, raw]) expect(await wire.closed).toBe('FIN')
      await leavesWell(app)
    },
  ],
  ...each(http1, 'a WebSocket, an upgrade that come while draining are told, too', async (scheme) => {
    const app = await startApp({ scheme, drain: `linger: '10s', ws: { timeout: 300 }`, setup: upgrades })
    const wires = [await idle(app), await idle(app)]
    await app.term()
    await wires[0]?.send(webSocket)
    await wires[0]?.until(closing)
    await wires[0]?.send(closed)
    await wires[1]?.send(echo)
    for (const wire of wires) expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(http1, 'an event stream comes to its proper end; writing to it afterwards harms nobody', async (scheme) => {
    const app = await startApp({ scheme, setup: events() })
    // Keeps the process draining for a while after the stream's end.
    await idle(app)
    const wire = await held(app, '/events')
    await wire.until('data: first')
    await app.term()
    const [answer] = await wire.answers()
    expect(answer?.body).toMatch(/^data: first\n\n(data: more\n\n)*$/)
    expect(await wire.closed).toBe('FIN')
    await leavesWell(app)
  }),
  ...each(http2, 'an event stream comes to its proper end', async (scheme) => {
    const app = await startApp({ scheme, setup: events() })
    const answer = ask(await h2(app), '/events')
    await app.until('request /events')
    await app.term()
    expect(await answer).toEqual({ status: 200, code: 0, body: expect.stringMatching(/^data: first\n\n(data: more\n\n)*$/) })
    await leavesWell(app)
  }),
  [
    'a function as sse writes the last event',
    async () => {
      const last = `sse: (response) => response.write('event: bye\\nretry: 100\\n\\n')`
      const app = await startApp({ drain: last, setup: events() })
      const wire = await held(app, '/events')
      await app.term()
      const [answer] = await wire.answers()
      expect(answer?.body).toMatch(/event: bye\nretry: 100\n\n$/)
      expect(await wire.closed).toBe('FIN')
      await leavesWell(app)
    },
  ],
  [
    'a function as sse that throws: the streams end, and the others are answered',
    async () => {
      const app = await startApp({ drain: `sse: () => { throw new Error('no') }`, setup: events() })
      const wires = [await held(app, '/events'), await held(app), await idle(app)]
      app.kill('SIGTERM')
      await app.until('draining')
      app.go()
      for (const wire of wires) expect(await wire.closed).toBe('FIN')
      expect(await wires[0]?.answers()).toMatchObject([{ status: 200 }])
      expect(await wires[1]?.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'held' }])
      const { row } = await app.gone()
      expect(row.result).toMatchObject({ state: 'drained', cut: { requests: 0 } })
    },
  ],
  [
    "sse: 'wait' leaves the end to the program",
    async () => {
      const app = await startApp({
        drain: `sse: 'wait'`,
        setup: events(`go().then(() => { clearInterval(more); response.end('data: last\\n\\n') })`),
      })
      const wire = await held(app, '/events')
      await app.term()
      await sleep(200)
      expect(wire.socket.readableEnded).toBe(false)
      app.go()
      const [answer] = await wire.answers()
      expect(answer?.body).toMatch(/data: last\n\n$/)
      expect(await wire.closed).toBe('FIN')
      await leavesWell(app)
    },
  ],
])

test('drain.close() without leaving: then the server may listen, and be drained, again', async () => {
  const app = await startApp({
    setup: `go().then(async () => {
      const [one, two] = [drain.close(), drain.close()]
      say('closed ' + (await one === await two) + ' ' + server.listening + ' ' + drain.stats().state)
      drainHttp(server, { name: 'again', linger: '10s' })
      server.listen(0, '127.0.0.1', () => say('again ' + server.address().port + '.'))
    })`,
  })
  const wire = await idle(app)
  app.go()
  expect(await wire.closed).toBe('FIN')
  await app.until('.')
  expect(app.printed()).toContain('closed true false drained')
  const again = { ...app, connect: () => app.connect({ port: Number(/again (\d+)/.exec(app.printed())?.[1]) }) }
  const next = await idle(again)
  await app.term()
  await next.send(get('/now'))
  expect((await next.answers(2))[1]).toMatchObject({ status: 200, headers: { connection: 'close' } })
  expect(await next.closed).toBe('FIN')
  const { report, stderr } = await app.gone()
  expect(stderr).toBe('')
  expect(report.hooks).toContainEqual(expect.objectContaining({ name: 'again', phase: 'drain', status: 'ok' }))
})

test("a server's listeners are not changed, and without 'upgrade' a request to upgrade is a plain one", async () => {
  const app = await startApp()
  const wire = await app.connect()
  await wire.send(get('/now', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'))
  expect(await wire.answers()).toMatchObject([{ status: 200, body: 'now' }])
  await app.term()
  await app.gone()

  const { lines, stderr } = await run(`
    import * as http from 'node:http'
    import * as http2 from 'node:http2'
    import * as https from 'node:https'
    import { drainHttp } from '${web}'
    const events = ['request', 'upgrade', 'connect', 'checkContinue', 'checkExpectation', 'clientError', 'session', 'stream']
    for (const server of [http.createServer(), https.createServer(), http2.createServer(), http2.createSecureServer({ allowHTTP1: true })]) {
      const counts = () => events.map((event) => server.listenerCount(event)).join(' ')
      const before = counts()
      drainHttp(server)
      console.log(before === counts() ? 'same' : before + ' became ' + counts())
    }`)
  expect(lines, stderr).toEqual(['same', 'same', 'same', 'same'])
})

const limit = Number(execFileSync('/bin/sh', ['-c', 'ulimit -n'], { encoding: 'utf8' })) || Number.POSITIVE_INFINITY

test.skipIf(limit < 11_000)(
  `10,000 idle sockets: bounded time and memory, each closed with FIN (${limit} files are allowed)`,
  async () => {
    const app = await startApp({
      grace: '10s',
      drain: 'linger: 500, firstRequest: 500',
      setup: `
      const rss = () => Math.round(process.memoryUsage().rss / 1e6)
      onExit(() => say('before ' + rss()), { phase: 'announce' })
      onExit(() => say('after ' + rss()))`,
    })
    const clients = start(
      `
    import { connect } from 'node:net'
    const ended = { FIN: 0 }
    let closed = 0
    const one = (isUsed) => new Promise((resolve, reject) => {
      let how
      const socket = connect(${app.port}, '127.0.0.1', () => isUsed ? socket.write(${JSON.stringify(get('/now'))}) : resolve())
      socket.on('data', resolve).on('end', () => { how = 'FIN' }).on('error', (error) => { how ??= error.code; reject(error) })
      socket.on('close', () => {
        ended[how] = (ended[how] ?? 0) + 1
        if (++closed === 10_000) console.log(JSON.stringify(ended))
      })
    })
    for (let n = 0; n < 10_000; n += 200) await Promise.all(Array.from({ length: 200 }, (_, i) => one(i % 2 === 0)))
    console.log('connected')`,
      { timeout: 30_000 },
    )
    await clients.until('connected')
    app.kill('SIGTERM')
    const { report, row, printed } = await app.gone().then((gone) => ({ ...gone, printed: gone.stdout }))
    expect(row.status).toBe('ok')
    expect(report.duration).toBeLessThan(6000)
    const [before, after] = ['before', 'after'].map((name) => Number(new RegExp(`${name} (\\d+)`).exec(printed)?.[1]))
    expect((after as number) - (before as number)).toBeLessThan(100)
    expect((await clients.ended).lines.at(-1)).toBe('{"FIN":10000}')
  },
  60_000,
)
