import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { closeOnExit, scope } from '../src/index.js'
import { type IsolatedExits, isolateExits } from '../src/testing.js'
import { nodeMajor, poll, prelude, run, runAndKill, start } from './support/program.js'
import { missing, type Server, startServer } from './support/servers.js'

vi.setConfig({ maxConcurrency: 2 })

/** Beginnings of all programs: each makes a resource `x`. */
const clients = `${prelude}
import { closeOnExit, explain } from 'exodos'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import * as fs from 'node:fs'
import * as net from 'node:net'
const require = createRequire(import.meta.url)
const VERBS = [Symbol.asyncDispose, Symbol.dispose, '$disconnect', 'close', 'quit', 'end', 'disconnect', 'destroy', 'terminate',
  'stop', 'shutdown', 'drain', 'kill']
const verbName = (verb) => verb === Symbol.asyncDispose ? '[asyncDispose]' : verb === Symbol.dispose ? '[dispose]' : verb
const calls = []
let depth = 0
/** After the registration, so that it has no part in the choice. */
const spy = (x) => {
  for (const verb of VERBS) {
    const method = x[verb]
    if (typeof method !== 'function') continue
    const value = function (...args) {
      // Not what it calls itself.
      if (depth === 0) calls.push(verbName(verb) + '(' + args.map((arg) => typeof arg === 'function' ? 'callback' : arg).join() + ')')
      depth++
      try { return method.apply(this, args) } finally { depth-- }
    }
    Object.defineProperty(x, verb, { value, writable: true, configurable: true })
  }
}
const listening = async (server) => { server.listen(0, '127.0.0.1'); await once(server, 'listening'); return server.address().port }
/** A peer for clients; its end is the last. */
const peer = async (server) => {
  const sockets = new Set()
  server.on('connection', (socket) => { sockets.add(socket); socket.on?.('error', () => {}) })
  onExit(() => { server.close(); for (const socket of sockets) socket.destroy?.() }, { name: 'peer' })
  return listening(server)
}
`

const mysql = `const mysql = require('mysql2')
let leave; const left = new Promise((resolve) => { leave = resolve })
const port = await peer(mysql.createServer().on('connection', (connection) => {
  connection.serverHandshake({ protocolVersion: 10, serverVersion: '8.0.0', connectionId: 1, statusFlags: 2, characterSet: 8,
    capabilityFlags: 0xffffff ^ 2048, authCallback: (_, done) => { done(null, null); connection._resetSequenceId() } })
  connection.on('error', () => {})
  connection.on('quit', () => { leave(); connection.stream.end() })
})._server)
const options = { host: '127.0.0.1', port, user: 'u' }`

/** As much of AMQP as opening and closing needs. */
const amqp = `const defs = require(require.resolve('amqplib').replace('channel_api', 'lib/defs'))
const answers = {
  [defs.ConnectionStartOk]: [defs.ConnectionTune, { channelMax: 10, frameMax: 65536, heartbeat: 0 }],
  [defs.ConnectionOpen]: [defs.ConnectionOpenOk, { knownHosts: '' }],
  [defs.ConnectionClose]: [defs.ConnectionCloseOk, {}],
  [defs.ChannelOpen]: [defs.ChannelOpenOk, {}],
  [defs.ChannelClose]: [defs.ChannelCloseOk, {}],
}
let left = false
const port = await peer(net.createServer((socket) => {
  let data = Buffer.alloc(0)
  const send = (channel, [id, fields]) => socket.write(defs.encodeMethod(id, channel, fields))
  socket.once('data', (hello) => {
    send(0, [defs.ConnectionStart, { serverProperties: {}, mechanisms: Buffer.from('PLAIN'), locales: Buffer.from('en_US') }])
    data = hello.subarray(8)
    socket.on('data', (more) => {
      data = Buffer.concat([data, more])
      while (data.length >= 8 && data.length >= 8 + data.readUInt32BE(3)) {
        const id = data.readUInt32BE(7)
        if (id === defs.ConnectionClose || id === defs.ChannelClose) left = true
        if (data[0] === 1 && answers[id]) send(data.readUInt16BE(1), answers[id])
        data = data.subarray(8 + data.readUInt32BE(3))
      }
    })
  })
}))`

const nats = `let text = '', silent = false, owed = 0, speak
const port = await peer(net.createServer((socket) => {
  speak = () => { silent = false; socket.write('PONG\\r\\n'.repeat(owed)) }
  socket.write('INFO {"server_id":"s","version":"2.9.0","proto":1,"max_payload":1048576,"headers":true}\\r\\n')
  socket.on('data', (data) => {
    text += data
    for (const _ of String(data).matchAll(/PING\\r\\n/g)) silent ? owed++ : socket.write('PONG\\r\\n')
  })
}))`

const webSocketServer = `const { WebSocket: Ws, WebSocketServer } = require('ws')
const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' })
await once(sockets, 'listening')
let code
sockets.on('connection', (socket) => socket.on('close', (with_) => { code = with_ }))
const url = 'ws://127.0.0.1:' + sockets.address().port`
const webSocketPeer = `${webSocketServer}
onExit(async () => { if (code === undefined) await new Promise((resolve) => sockets.on('connection', resolve).clients.forEach((one) => one.on('close', resolve))); say('code ' + code); sockets.close() }, { name: 'peer' })`

/** Counts what it is told; `hello` is what it says itself. */
const reader = `let size = 0, leave; const left = new Promise((resolve) => { leave = resolve }), hello = ''
const port = await peer(net.createServer((socket) => {
  socket.write(hello)
  socket.on('close', leave).on('data', (data) => {
    // A slow one.
    if (size === 0) { socket.pause(); setTimeout(() => socket.resume(), 30) }
    size += data.length
  })
}))`

const kafka = `const { Kafka } = require('kafkajs')
const kafka = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: 0 })`

interface Row {
  row: string
  /** Makes `x`. */
  make: string
  /** The first call on it. */
  calls: string
  /** Holds once it is closed. */
  closed: string
  options?: string
  /** After the registration. */
  after?: string
  status?: 'ok' | 'overdue'
  since?: number
}

const packages: Row[] = [
  {
    row: 'pg Client',
    make: `const { Client } = require('pg'); const x = new Client()`,
    calls: 'end(callback)',
    closed: 'x._ending',
  },
  { row: 'pg Pool', make: `const { Pool } = require('pg'); const x = new Pool()`, calls: 'end(callback)', closed: 'x.ended' },
  {
    row: 'postgres',
    make: `const postgres = require('postgres'); const x = postgres({ port: 1 })`,
    calls: 'end()',
    closed: `(await x\`select 1\`.catch((error) => error.code)) === 'CONNECTION_ENDED'`,
  },
  {
    row: 'mysql2 Connection',
    make: `${mysql}; const x = mysql.createConnection(options); await once(x, 'connect')`,
    calls: 'end(callback)',
    closed: '(await left, x._closing)',
  },
  {
    row: 'mysql2 Pool',
    make: `${mysql}; const x = mysql.createPool(options)
      await new Promise((resolve, reject) => x.getConnection((error, one) => error ? reject(error) : resolve(one.release())))`,
    calls: 'end(callback)',
    closed: '(await left, x._closed)',
  },
  {
    row: 'mysql2/promise Connection',
    make: `${mysql}; const x = await require('mysql2/promise').createConnection(options)`,
    calls: '[asyncDispose]()',
    closed: '(await left, x.connection._closing)',
  },
  {
    row: 'mysql2/promise Pool',
    make: `${mysql}; const x = require('mysql2/promise').createPool(options); (await x.getConnection()).release()`,
    calls: '[asyncDispose]()',
    closed: '(await left, x.pool._closed)',
  },
  {
    row: 'ioredis',
    make: `const { Redis } = require('ioredis'); const x = new Redis({ lazyConnect: true, port: 1 }); x.on('error', () => {})`,
    calls: 'quit()',
    closed: `(await once(x, 'end'), x.status === 'end')`,
  },
  {
    row: 'redis, never connected',
    make: `const { createClient } = require('redis'); const x = createClient()`,
    calls: '',
    closed: '!x.isOpen',
  },
  {
    row: 'mongodb',
    make: `const { MongoClient } = require('mongodb'); const x = new MongoClient('mongodb://127.0.0.1:1')`,
    calls: '[asyncDispose]()',
    closed: 'x.hasBeenClosed || x.closed !== false',
  },
  {
    row: 'knex',
    make: `const x = require('knex')({ client: 'pg', connection: { port: 1 } })`,
    calls: 'destroy()',
    closed: 'x.client.pool === undefined',
  },
  ...['producer()', `consumer({ groupId: 'g' })`, 'admin()'].map((client) => ({
    row: `kafkajs ${client}`,
    make: `${kafka}; const x = kafka.${client}`,
    calls: 'disconnect()',
    closed: 'true',
  })),
  {
    row: 'amqplib connection',
    make: `${amqp}; const x = await require('amqplib').connect('amqp://127.0.0.1:' + port)`,
    calls: 'close()',
    closed: 'left',
  },
  {
    row: 'amqplib channel',
    make: `${amqp}; const connection = closeOnExit(await require('amqplib').connect('amqp://127.0.0.1:' + port), { name: 'other' })
      const x = await connection.createChannel()`,
    calls: 'close()',
    closed: 'left',
  },
  {
    row: 'amqplib/callback_api connection',
    make: `${amqp}; const x = await new Promise((resolve, reject) => require('amqplib/callback_api').connect(
      'amqp://127.0.0.1:' + port, (error, one) => error ? reject(error) : resolve(one)))`,
    calls: 'close(callback)',
    closed: 'left',
  },
  {
    row: 'nats: what was published arrives',
    make: `${nats}; const x = await require('nats').connect({ port }); for (let i = 0; i < 5000; i++) x.publish('s', 'hello')`,
    calls: 'drain()',
    closed: `x.isClosed() && text.split('PUB s').length === 5001`,
  },
  {
    row: 'nats, draining already',
    make: `${nats}; const x = await require('nats').connect({ port }); for (let i = 0; i < 5000; i++) x.publish('s', 'hello')`,
    // Which can't be over before the shutdown.
    after: `silent = true; x.drain(); calls.pop(); onExit(() => { setTimeout(speak, 10) }, { name: 'peer' })`,
    calls: '',
    closed: `x.isClosed() && text.split('PUB s').length === 5001`,
  },
  {
    row: 'ws WebSocket',
    make: `${webSocketPeer}; const x = new Ws(url); await once(x, 'open')`,
    calls: 'close(1001)',
    closed: 'x.readyState === 3',
  },
  {
    row: 'ws WebSocket that is connecting',
    make: `const { WebSocket: Ws } = require('ws'); const port = await peer(net.createServer()); const x = new Ws('ws://127.0.0.1:' + port)`,
    calls: 'close(1001)',
    closed: 'x.readyState === 3',
  },
  {
    row: 'ws WebSocket, the other side is silent',
    make: `${webSocketServer}; onExit(() => { sockets.close(); for (const one of sockets.clients) one.terminate() }, { name: 'peer' })
      const x = new Ws(url); await once(x, 'open'); for (const one of sockets.clients) one.pause()`,
    options: '{ timeout: 200 }',
    status: 'overdue',
    calls: 'close(1001)',
    closed: 'x.readyState >= 2',
  },
  {
    row: 'ws WebSocketServer with a client',
    make: `${webSocketServer}; const client = new Ws(url); await once(client, 'open'); const x = sockets
      let told; client.on('close', (with_) => { told = with_ })`,
    calls: 'close(callback)',
    closed: '(await sleep(1), code === 1001 && told === 1001 && x.clients.size === 0)',
  },
  {
    row: 'undici Agent',
    make: `const { Agent, request } = require('undici'); const http = require('node:http')
      const port = await peer(http.createServer((_, answer) => answer.end('ok'))); const x = new Agent()
      await (await request('http://127.0.0.1:' + port, { dispatcher: x })).body.text()`,
    calls: 'close(callback)',
    closed: 'x.closed',
  },
  {
    row: 'undici WebSocket',
    make: `${webSocketPeer}; const { WebSocket: Undici } = require('undici'); const x = new Undici(url); await once(x, 'open')`,
    calls: 'close()',
    closed: 'x.readyState === 3',
  },
]

const builtIn: Row[] = [
  {
    row: 'FileHandle',
    make: `const x = await fs.promises.open('f', 'w'); await x.write('text')`,
    calls: '[asyncDispose]()',
    closed: 'x.fd === -1',
  },
  {
    row: 'fs.Dir',
    make: `const x = await fs.promises.opendir('.')`,
    calls: nodeMajor < 22 ? 'close(callback)' : '[asyncDispose]()',
    closed: `(() => { try { x.readSync() } catch (error) { return error.code === 'ERR_DIR_CLOSED' } })()`,
  },
  {
    row: 'fs.WriteStream: what it has buffered arrives',
    make: `const x = fs.createWriteStream('f'); for (let i = 0; i < 1000; i++) x.write('x'.repeat(1000))`,
    calls: 'end()',
    closed: `x.closed && fs.statSync('f').size === 1e6`,
  },
  {
    row: 'a gzip stream piped into a file: all arrives',
    make: `const zlib = require('node:zlib'); const file = closeOnExit(fs.createWriteStream('f'), { name: 'other' })
      const x = zlib.createGzip(); x.pipe(file); const data = require('node:crypto').randomBytes(1e6); x.write(data)`,
    calls: 'end()',
    closed: `(file.closed || await once(file, 'close'), zlib.gunzipSync(fs.readFileSync('f')).equals(data))`,
  },
  {
    row: 'fs.ReadStream',
    make: `const x = fs.createReadStream(import.meta.filename)`,
    calls: 'destroy()',
    closed: 'x.closed',
  },
  {
    row: 'net.Socket: what was written before arrives',
    make: `${reader}
      const x = net.connect(port, '127.0.0.1'); await once(x, 'connect'); for (let i = 0; i < 3000; i++) x.write('x'.repeat(1000))`,
    calls: 'end()',
    closed: '(await left, x.closed && size === 3e6)',
  },
  {
    row: 'net.Socket that is connecting: what was written before arrives',
    make: `${reader}
      const x = net.connect(port, '127.0.0.1'); x.write('x'.repeat(1000))`,
    calls: 'end()',
    closed: '(await left, x.closed && size === 1000)',
  },
  {
    row: 'net.Socket with unread input: what was written before arrives',
    make: `${reader.replace("hello = ''", "hello = 'x'.repeat(500_000)")}
      const x = net.connect(port, '127.0.0.1'); await once(x, 'readable'); for (let i = 0; i < 1000; i++) x.write('x'.repeat(1000))`,
    calls: 'end()',
    closed: '(await left, x.closed && size === 1e6)',
  },
  { row: 'net.Socket, never connected', make: 'const x = new net.Socket()', calls: 'destroy()', closed: 'x.destroyed' },
  {
    row: 'net.Socket, the other side stays open',
    make: `const port = await peer(net.createServer({ allowHalfOpen: true })); const x = net.connect(port, '127.0.0.1')
      await once(x, 'connect')`,
    calls: 'end()',
    closed: 'x.destroyed',
  },
  {
    row: 'net.Server',
    make: 'const x = net.createServer(); await listening(x)',
    calls: 'close()',
    closed: '!x.listening',
  },
  { row: 'net.Server, not listening', make: 'const x = net.createServer()', calls: '', closed: '!x.listening' },
  {
    row: 'net.Server with an idle connection: cut at the limit',
    make: `const x = net.createServer(); await listening(x)`,
    options: '{ timeout: 200 }',
    after: `net.connect(x.address().port, '127.0.0.1'); await once(x, 'connection')`,
    calls: 'close()',
    status: 'overdue',
    closed: '!x.listening',
  },
  {
    row: 'http.Server with an idle keep-alive connection',
    make: `const http = require('node:http'); const x = http.createServer((_, answer) => answer.end('ok')); const port = await listening(x)
      const agent = new http.Agent({ keepAlive: true })
      await new Promise((resolve) => http.get({ port, agent }, (answer) => answer.resume().on('close', resolve)))`,
    calls: 'close()',
    closed: '!x.listening',
  },
  {
    row: 'http.Server with a hanging request: cut at the limit',
    make: `const http = require('node:http'); const x = http.createServer(() => {}); const port = await listening(x)
      http.get({ port }).on('error', (error) => say('client: ' + error.code)); await once(x, 'request')`,
    options: '{ timeout: 200 }',
    calls: 'close()',
    status: 'overdue',
    closed: '!x.listening',
  },
  {
    row: 'http.Server that is closing already: its answer arrives',
    make: `const http = require('node:http'); let answer; const x = http.createServer((_, one) => { answer = one })
      const port = await listening(x); let text = ''
      http.get({ port }, (one) => one.on('data', (data) => { text += data })); await once(x, 'request')`,
    after: `x.close(); calls.pop(); onExit(() => { setTimeout(() => answer.end('late'), 10) }, { name: 'peer' })`,
    calls: '',
    closed: `text === 'late'`,
  },
  { row: 'http.Server, not listening', make: `const x = require('node:http').createServer()`, calls: '', closed: '!x.listening' },
  {
    row: 'http2 server with an open session',
    make: `const http2 = require('node:http2'); const x = http2.createServer(); const port = await listening(x)`,
    after: `const session = http2.connect('http://127.0.0.1:' + port)
      await Promise.all([once(x, 'session'), once(session, 'connect')])`,
    calls: 'close()',
    closed: '!x.listening',
  },
  {
    row: 'http2 session',
    make: `const http2 = require('node:http2'); const server = http2.createServer(); onExit(() => server.close(), { name: 'peer' }); const port = await listening(server)
      const x = http2.connect('http://127.0.0.1:' + port); await once(x, 'connect')`,
    calls: 'close(callback)',
    closed: 'x.closed && x.destroyed',
  },
  {
    row: 'dgram',
    make: `const x = require('node:dgram').createSocket('udp4'); x.bind(0); await once(x, 'listening')
      let closed = false; x.once('close', () => { closed = true })`,
    calls: '[asyncDispose]()',
    closed: 'closed',
  },
  {
    row: 'readline',
    make: `const port = await peer(net.createServer()); const input = closeOnExit(net.connect(port, '127.0.0.1'), { name: 'other' })
      const x = require('node:readline').createInterface({ input })`,
    calls: 'close()',
    closed: 'x.closed',
  },
  {
    row: 'Worker',
    make: `const { Worker } = require('node:worker_threads'); const x = new Worker('setInterval(() => {}, 1000)', { eval: true })
      await once(x, 'online')`,
    calls: nodeMajor < 22 ? 'terminate()' : '[asyncDispose]()',
    closed: 'x.threadId === -1',
  },
  {
    row: 'ChildProcess',
    make: `const x = require('node:child_process').spawn('sleep', ['60'])`,
    calls: 'kill()',
    closed: `x.signalCode === 'SIGTERM'`,
  },
  {
    row: 'ChildProcess that ignores SIGTERM: killed at the limit',
    make: `const x = require('node:child_process').spawn('sh', ['-c', 'trap "" TERM; echo; while :; do sleep 0.1; done']); await once(x.stdout, 'data')
      const ended = once(x, 'exit')`,
    options: '{ timeout: 200 }',
    status: 'overdue',
    calls: 'kill()',
    closed: `(await ended, x.signalCode === 'SIGKILL')`,
  },
  { row: 'Timeout', make: 'const x = setInterval(() => {}, 1000)', calls: 'close()', closed: 'x._destroyed' },
  {
    row: 'Immediate',
    make: 'let ran = false; const x = setImmediate(() => { ran = true })',
    calls: '[dispose]()',
    closed: '(await sleep(1), !ran)',
  },
  {
    row: 'MessagePort',
    make: `const x = new MessageChannel().port1; x.on('message', () => {}); let closed = false; x.on('close', () => { closed = true })`,
    calls: 'close(callback)',
    closed: 'closed',
  },
  {
    row: 'BroadcastChannel',
    make: `const x = new BroadcastChannel('c')`,
    calls: 'close()',
    closed: '(() => { try { x.postMessage(1) } catch { return true } })()',
  },
  {
    row: 'FSWatcher',
    make: `const x = fs.watch('.'); let closed = false; x.on('close', () => { closed = true })`,
    calls: 'close()',
    closed: '(await sleep(1), closed)',
  },
  {
    row: 'inspector.Session',
    make: `const { Session } = require('node:inspector'); const x = new Session(); x.connect()`,
    calls: 'disconnect()',
    closed: '(() => { try { x.post("Runtime.enable") } catch { return true } })()',
  },
  {
    row: 'http.Agent',
    make: `const http = require('node:http'); const port = await peer(http.createServer((_, answer) => answer.end('ok')))
      const x = new http.Agent({ keepAlive: true })
      await new Promise((resolve) => http.get({ port, agent: x }, (answer) => answer.resume().on('close', resolve)))`,
    calls: 'destroy()',
    closed: 'Object.values(x.freeSockets).flat().every((socket) => socket.destroyed)',
  },
  { row: 'process.stdout: stays as it is', make: 'const x = process.stdout', calls: '', closed: 'x.writable' },
  {
    row: 'global WebSocket',
    make: `${webSocketPeer}; const x = new WebSocket(url); await once(x, 'open')`,
    calls: 'close()',
    closed: 'x.readyState === 3',
    since: 22,
  },
]

/** The rows of a table under their full names. */
const named = <R extends { row: string }>(rows: R[]): [string, R][] => rows.map((each) => [each.row, each])

describe.concurrent.each([
  ['packages', packages],
  ['built in', builtIn],
])('%s: closed in its way, and nothing of it keeps the process alive', (_, rows) => {
  const all = rows.filter(({ since = 0 }) => nodeMajor >= since)
  test.each(named(all))('%s', async (_, { make, calls, closed, options, after = '', status = 'ok' }) => {
    const { code, stderr, stdout, lines } = await run(`${clients}${make}
      onExit(async () => say('first ' + (calls[0] ?? '')), { name: 'calls' })
      onExit(async () => say('closed ' + Boolean(${closed})), { name: 'check' })
      closeOnExit(x, ${options ?? '{}'})
      spy(x)
      ${after}
      const { hooks, phases } = await runExitHooks()
      const began = performance.now()
      for (const { name, status, error } of hooks) if (!['calls', 'check', 'peer', 'other'].includes(name)) say(status + ' ' + (error?.stack ?? ''))
      process.once('exit', () => say('ends ' + (performance.now() - began < 2000)))`)
    const seen = lines.filter((line) => /^(first|closed|ok|overdue|failed|cut|ends)/.test(line)).map((line) => line.trim())
    expect({ code, seen, stderr }, stdout).toEqual({
      code: 0,
      seen: ['closed true', `first ${calls}`.trim(), status, 'ends true'],
      stderr: expect.not.stringMatching(/warning|error/i),
    })
  })
})

describe.concurrent('closed early by hand: taken off, closed once, exit code 0', () => {
  const rows: { row: string; make: string; close: string; calls: string }[] = [
    { row: 'pg Pool', make: `const { Pool } = require('pg'); const x = new Pool()`, close: 'await x.end()', calls: 'end()' },
    {
      row: 'ioredis',
      make: `const { Redis } = require('ioredis'); const x = new Redis({ lazyConnect: true, port: 1 }); x.on('error', () => {})`,
      close: 'await x.quit()',
      calls: 'quit()',
    },
    {
      row: 'redis',
      make: `const port = await peer(net.createServer((socket) => socket.on('data', (data) => socket.write('+OK\\r\\n'.repeat(
          [...String(data).matchAll(/^\\*\\d/gm)].length)))))
        const x = require('redis').createClient({ socket: { port }, RESP: 2 }); await x.connect()`,
      close: 'await x.close()',
      calls: 'close()',
    },
    {
      row: 'mysql2 Pool',
      make: `${mysql}; const x = mysql.createPool(options)
        await new Promise((resolve, reject) => x.getConnection((error, one) => error ? reject(error) : resolve(one.release())))`,
      close: 'await new Promise((resolve) => x.end(resolve))',
      calls: 'end(callback)',
    },
    {
      row: 'http.Server',
      make: `const x = require('node:http').createServer(); await listening(x)`,
      close: 'await new Promise((resolve) => x.close(resolve))',
      calls: 'close(callback)',
    },
    {
      row: 'fs.WriteStream',
      make: `const x = fs.createWriteStream('f'); x.write('text')`,
      close: `x.end(); await once(x, 'close')`,
      calls: 'end()',
    },
    {
      row: 'FileHandle',
      make: `const x = await fs.promises.open('f', 'w')`,
      close: 'await x[Symbol.asyncDispose]()',
      calls: '[asyncDispose]()',
    },
    {
      row: 'FileHandle, by close()',
      make: `const x = await fs.promises.open('f', 'w')`,
      close: 'await x.close()',
      calls: 'close()',
    },
    {
      row: 'undici Agent',
      make: `const { Agent } = require('undici'); const x = new Agent()`,
      close: 'await x.close()',
      calls: 'close()',
    },
  ]
  test.each(named(rows))('%s', async (_, { make, close, calls }) => {
    const { code, signal, stdout, stderr, report } = await run(`${clients}${make}
      onExit(() => say('calls ' + calls.filter((call) => call[0] !== 'd').join(' ')), { name: 'calls' })
      closeOnExit(x, { name: 'x' })
      spy(x)
      ${close}
      say('planned ' + explain().phases.flatMap((phase) => JSON.stringify(phase).match(/"name":"x"/g) ?? []).length)
      exit(0)`)
    expect({ code, signal, stderr }, stdout).toEqual({ code: 0, signal: null, stderr: '' })
    expect(stdout).toContain('planned 0')
    expect(stdout).toMatch(`calls ${calls}\n`)
    expect(report?.hooks.map(({ name, status }) => `${name} ${status}`)).not.toContain('x ok')
    expect(report?.hooks.map(({ status }) => status)).not.toContain('failed')
  })
})

describe.concurrent('a client whose server is away, with commands queued: its own closing hangs, a fallback at the limit ends it', () => {
  const rows: { row: string; make: string; close: string }[] = [
    {
      row: 'ioredis: quit, then disconnect',
      make: `const { Redis } = require('ioredis'); const x = new Redis({ port: 1, disconnectTimeout: 100 }); x.on('error', () => {}); x.get('a').catch(() => {})
        await new Promise((resolve) => x.once('reconnecting', resolve))`,
      close: `(x, { signal }) => { signal.addEventListener('abort', () => x.disconnect()); return x.quit() }`,
    },
    {
      row: 'redis: close, then destroy',
      make: `const x = require('redis').createClient({ socket: { port: 1 } }); x.on('error', () => {}); x.connect().catch(() => {})
        x.get('a').catch(() => {}); await new Promise((resolve) => x.once('reconnecting', resolve))`,
      close: `(x, { signal }) => { signal.addEventListener('abort', () => x.destroy()); return x.close() }`,
    },
  ]
  test.each(named(rows))('%s', async (_, { make, close }) => {
    const { code, stdout } = await run(`${clients}${make}
      closeOnExit(x, { name: 'x', timeout: 200, close: ${close} })
      const { hooks } = await runExitHooks()
      const began = performance.now()
      process.once('exit', () => say(hooks.map(({ name, status }) => name + ' ' + status) + ' ' + (performance.now() - began < 2000)))`)
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'x overdue true\n' })
  })
})

const absent = process.env.CI ? undefined : missing('postgres', 'redis')
if (absent) console.warn(`clients.test.ts: the tests with real servers are skipped: ${absent}`)

describe
  .skipIf(absent)
  .concurrent('with the real server: the connection is gone on its side while the process is still alive', () => {
    const servers: { postgres?: Server; redis?: Server } = {}
    beforeAll(async () => {
      const started = await Promise.allSettled([startServer('postgres'), startServer('redis')])
      const [postgres, redis] = started.map((each) => (each.status === 'fulfilled' ? each.value : undefined))
      Object.assign(servers, { postgres, redis })
      for (const each of started) if (each.status === 'rejected') throw each.reason
    }, 30_000)
    afterAll(async () => {
      await Promise.all([servers.postgres?.stop(), servers.redis?.stop()])
    })

    const pgOptions = `{ host: '127.0.0.1', port: +process.env.PORT, user: 'postgres', database: 'postgres', application_name: process.env.NAME }`
    const rows: { row: string; server: 'postgres' | 'redis'; make: string; idle?: string }[] = [
      {
        row: 'pg Client',
        server: 'postgres',
        make: `const { Client } = require('pg'); const x = new Client(${pgOptions}); await x.connect(); await x.query('select 1')`,
        idle: 'x.unref()',
      },
      {
        row: 'pg Pool',
        server: 'postgres',
        make: `const { Pool } = require('pg'); const x = new Pool({ ...${pgOptions}, allowExitOnIdle: true }); await x.query('select 1')`,
        idle: '',
      },
      {
        row: 'postgres',
        server: 'postgres',
        make: `const x = require('postgres')({ ...${pgOptions}, connection: { application_name: process.env.NAME } }); await x\`select 1\``,
      },
      {
        row: 'knex with pg',
        server: 'postgres',
        make: `const x = require('knex')({ client: 'pg', connection: ${pgOptions} }); await x.raw('select 1')`,
      },
      {
        row: 'ioredis',
        server: 'redis',
        make: `const { Redis } = require('ioredis')
        const x = new Redis({ port: +process.env.PORT, connectionName: process.env.NAME, reconnectOnError: () => false }); await x.set('a', 1)`,
        idle: 'x.stream.unref()',
      },
      {
        row: 'redis',
        server: 'redis',
        make: `const x = require('redis').createClient({ socket: { port: +process.env.PORT }, name: process.env.NAME })
        await x.connect(); await x.set('a', 1)`,
        idle: 'x.unref()',
      },
    ]
    // An open connection keeps the process alive, unless it is told not to.
    const ways = { SIGTERM: () => '', 'natural end': (idle?: string) => idle, 'exit(0)': () => 'setTimeout(exit, 0, 0)' }
    const table = rows.flatMap((row) =>
      Object.entries(ways).flatMap(([way, leave]) => {
        const how = leave(row.idle)
        return how === undefined ? [] : [{ ...row, row: `${row.row}, ${way}`, how, isKilled: way === 'SIGTERM' }]
      }),
    )
    test.each(named(table))('%s', async (row, { server, make, how, isKilled }) => {
      const name = row.replace(/\W+/g, '_')
      const there = servers[server] as Server
      const program = start(
        `${clients}
      onExit(async () => { say('is closed'); process.stdin.resume(); await once(process.stdin, 'data'); process.stdin.destroy() }, { name: 'hold' })
      ${make}
      closeOnExit(x, { name: 'x' })
      say('ready'); await once(process.stdin, 'data'); process.stdin.pause()
      ${isKilled ? 'hold()' : how}`,
        { env: { PORT: String(there.port), NAME: name }, stdio: ['pipe', 'pipe', 'pipe'] },
      )
      await program.until('ready')
      expect(await there.connections(name)).toBe(1)
      program.child.stdin?.write('go on\n')
      if (isKilled) program.kill('SIGTERM')
      await program.until('is closed')
      // Servers see to it in their own time.
      await poll(() => there.connections(name), { timeout: 3000 }).toBe(0)
      expect(program.child.exitCode).toBe(null)
      program.child.stdin?.write('leave\n')
      const { code, signal, stderr, report } = await program.ended
      expect({ code, signal, stderr }).toEqual({ code: isKilled ? null : 0, signal: isKilled ? 'SIGTERM' : null, stderr: '' })
      expect(report?.hooks.map(({ name, status }) => `${name} ${status}`)).toEqual(['x ok', 'hold ok'])
    })

    test('pg Pool with a client checked out: overdue, nothing closes it', async () => {
      const { port, connections } = servers.postgres as Server
      const { code, signal, report } = await run(
        `${clients}
      const { Pool } = require('pg'); const x = new Pool(${pgOptions})
      await x.connect()
      closeOnExit(x, { name: 'x', timeout: 200 })
      exit(0)`,
        { env: { PORT: String(port), NAME: 'checked_out' } },
      )
      expect({ code, signal, status: report?.hooks[0]?.status }).toEqual({ code: 1, signal: null, status: 'overdue' })
      await poll(() => connections('checked_out'), { timeout: 3000 }).toBe(0)
    })
  })

describe('the choice', () => {
  let exits: IsolatedExits
  let log: string[]
  beforeEach(() => {
    exits = isolateExits()
    log = []
  })
  afterEach(() => exits.restore())

  const call = (text: string) => () => void log.push(text)
  const hooks = async () => (await exits.run()).hooks.map(({ status }) => status)
  /** All that something may have, each says its name. */
  const verbs = ['$disconnect', 'close', 'quit', 'end', 'disconnect', 'destroy', 'terminate', 'stop', 'shutdown']
  const having = (...names: (string | symbol)[]) => Object.fromEntries(names.map((name) => [name, call(String(name))]))
  /** After `wait`, so that who doesn't wait is seen. */
  const later = async (text: string) => {
    const mine = log
    await new Promise((resolve) => setTimeout(resolve, 5))
    mine.push(text)
  }

  test.each([
    [[Symbol.asyncDispose, ...verbs, Symbol.dispose], String(Symbol.asyncDispose)],
    [[...verbs, Symbol.dispose], '$disconnect'],
    [['close', 'quit', 'disconnect', Symbol.dispose], 'close'],
    [['close', 'end'], 'end'],
    [['close', 'quit', 'end'], 'end'],
    [['quit', 'end', 'disconnect', 'shutdown'], 'quit'],
    [['shutdown', 'stop', 'terminate', 'destroy', 'disconnect', 'end'], 'end'],
    [['shutdown', 'stop', 'terminate', 'destroy', 'disconnect'], 'disconnect'],
    [['shutdown', 'stop', 'terminate', 'destroy'], 'destroy'],
    [['shutdown', 'stop', 'terminate'], 'terminate'],
    [['shutdown', 'stop'], 'stop'],
    [['shutdown', Symbol.dispose], 'shutdown'],
    [[Symbol.dispose], String(Symbol.dispose)],
  ])('of %j it calls %s', async (names, expected) => {
    closeOnExit(having(...names))
    expect(await hooks()).toEqual(['ok'])
    expect(log).toEqual([expected])
  })

  const failing = new Error('refused')
  const odd: [string, () => object, { log?: string[]; status?: string }?][] = [
    ['frozen', () => Object.freeze(having('close'))],
    [
      'of a class',
      () =>
        new (class Odd {
          close() {
            log.push('close')
          }
        })(),
    ],
    [
      'a getter that throws is passed over',
      () => ({
        get close() {
          throw failing
        },
        end: call('close'),
      }),
    ],
    [
      'all getters throw but one, [Symbol.dispose]',
      () => ({
        get quit() {
          throw failing
        },
        [Symbol.dispose]: call('close'),
      }),
    ],
    ['a proxy', () => new Proxy(having('close'), {})],
    ['a proxy without a prototype', () => new Proxy(Object.assign(Object.create(null), having('close')), {})],
    ['a function', () => Object.assign(() => {}, having('close'))],
    ['an async function that has methods', () => Object.assign(async () => {}, having('close'))],
    ['a number under the name of a method is none', () => ({ close: 1, end: Number.POSITIVE_INFINITY, stop: call('close') })],
    [
      'a callback',
      () => ({
        close(callback: () => void) {
          void later('close').then(callback)
        },
      }),
    ],
    ['an arrow function with a callback', () => ({ close: (cb: () => void) => void later('close').then(cb) })],
    [
      'an optional callback after a default',
      () => ({
        end(done: () => void = () => {}) {
          void later('close').then(done)
        },
      }),
    ],
    [
      'a callback with an error',
      () => ({
        close(callback: (error: unknown) => void) {
          log.push('close')
          callback(failing)
        },
      }),
      { status: 'failed' },
    ],
    [
      'a callback with an event is fine',
      () => ({
        close(callback: (event: unknown) => void) {
          log.push('close')
          callback({ type: 'close' })
        },
      }),
    ],
    [
      'a callback and a promise: the promise counts',
      () => ({
        close(callback?: () => void) {
          callback?.()
          return later('close')
        },
      }),
    ],
    [
      'a promise, the callback is never called',
      () => ({
        close(_callback?: () => void, cb?: () => void) {
          void cb
          return later('close')
        },
      }),
    ],
    [
      'throws',
      () => ({
        close() {
          log.push('close')
          throw failing
        },
      }),
      { status: 'failed' },
    ],
    [
      'throws before it takes its callback',
      () => ({
        close(callback: () => void) {
          log.push('close')
          void callback
          throw failing
        },
      }),
      { status: 'failed' },
    ],
    [
      'says that it is closed already',
      () => ({
        close() {
          log.push('close')
          throw Object.assign(new Error(), { code: 'ERR_SERVER_NOT_RUNNING' })
        },
      }),
    ],
    [
      'rejects',
      () => ({
        async close() {
          await later('close')
          throw failing
        },
      }),
      { status: 'failed' },
    ],
    // biome-ignore lint/suspicious/noThenProperty: that is the case.
    ['a thenable is waited for', () => ({ close: () => ({ then: (done: () => void) => void later('close').then(done) }) })],
    [
      'a code or a flag is no callback',
      () => ({
        close(code?: unknown) {
          log.push(code === undefined ? 'close' : 'given something')
        },
      }),
    ],
    [
      'a minified callback has no name that tells: not waited for',
      () => ({
        close(e?: () => void) {
          log.push(e ? 'given one' : 'close')
          void later('late').then(e)
        },
      }),
    ],
    [
      'rest parameters are no callback',
      () => ({
        close(...callback: unknown[]) {
          log.push(callback.length ? 'given one' : 'close')
        },
      }),
    ],
    [
      'bound: no names either',
      () => ({
        close: function (this: unknown, callback?: unknown) {
          log.push(callback ? 'given one' : 'close')
        }.bind({}),
      }),
    ],
    ['not open', () => ({ isOpen: false, ...having('close') }), { log: [] }],
  ]
  test.each(odd)('%s', async (_, make, { log: expected = ['close'], status = 'ok' } = {}) => {
    const x = make()
    expect(closeOnExit(x)).toBe(x)
    expect(await hooks()).toEqual([status])
    expect(log).toEqual(expected)
  })

  test("a callback that isn't called is overdue at the limit", async () => {
    closeOnExit(
      {
        close(callback: () => void) {
          void callback
        },
      },
      { timeout: 20 },
    )
    expect(await hooks()).toEqual(['overdue'])
  })

  test('the same resource twice: closed once', async () => {
    const x = having('close')
    closeOnExit(closeOnExit(x, { name: 'first' }), { name: 'second', priority: 1 })
    expect((await exits.run()).hooks.map(({ name }) => name)).toEqual(['second'])
    expect(log).toEqual(['close'])
  })

  test.each<[string, () => { close(): void }]>([
    ['a plain object', () => having('close') as { close(): void }],
    ['a frozen one', () => Object.freeze(having('close')) as { close(): void }],
  ])('%s, for the exit and in a scope: closed once, by whichever comes first', async (_, make) => {
    const [x, y] = [make(), make()]
    const job = scope()
    closeOnExit(job.use(closeOnExit(x)))
    job.use(closeOnExit(y))
    await job.disposeAsync()
    expect(log).toEqual(['close', 'close'])
    await exits.run()
    expect(log).toEqual(['close', 'close'])
  })

  test('closed early: taken off from everywhere', async () => {
    const x = having('close') as { close(): void }
    const job = scope()
    job.use(closeOnExit(x))
    x.close()
    await job.disposeAsync()
    expect(await hooks()).toEqual([])
    expect(log).toEqual(['close'])
  })

  test('the methods are as they were when it is closed', async () => {
    class Thing {
      close() {
        log.push('close')
      }
    }
    const [early, late, own] = [new Thing(), new Thing(), having('close')]
    const method = own.close
    for (const x of [early, late, own]) closeOnExit(x)
    early.close()
    early.close()
    await exits.run()
    expect(log).toEqual(['close', 'close', 'close', 'close'])
    expect([early, late].map((x) => Object.hasOwn(x, 'close'))).toEqual([false, false])
    expect(own.close).toBe(method)
  })

  test.each<[string, (x: Record<string, () => void>) => void, string[]]>([
    ['the name of a method', (x) => closeOnExit(x, { close: 'stop' }), ['stop']],
    ['a function', (x) => closeOnExit(x, { close: (one) => one.quit?.() }), ['quit']],
    ['an async function, waited for', (x) => closeOnExit(x, { close: async () => later('own') }), ['own']],
  ])('override by %s', async (_, register, expected) => {
    register(having('close', 'quit', 'stop') as Record<string, () => void>)
    expect(await hooks()).toEqual(['ok'])
    expect(log).toEqual(expected)
  })

  test('override of a known kind, and a signal for its fallback', async () => {
    const x = Object.assign(new EventTarget(), { close: call('close'), destroy: call('destroy') })
    closeOnExit(x, {
      timeout: 20,
      close: (one, { signal }) => {
        signal.addEventListener('abort', () => one.destroy())
        one.close()
        return new Promise(() => {})
      },
    })
    expect(await hooks()).toEqual(['overdue'])
    expect(log).toEqual(['close', 'destroy'])
  })

  const all =
    '[Symbol.asyncDispose], $disconnect, close, quit, end, disconnect, destroy, terminate, stop, shutdown, [Symbol.dispose]'
  test.each<[string, () => unknown, string, string]>([
    ['an object', () => ({ open() {} }), all, 'an object without them'],
    ['an object of a class', () => new Map(), all, 'an object of Map'],
    ['null', () => null, all, 'null'],
    ['undefined', () => undefined, all, 'undefined'],
    ['a string', () => 'text', all, '"text"'],
    ['a function', () => function job() {}, all, 'function job'],
    ['a promise', () => Promise.resolve({ close() {} }), all, 'a promise: await it first'],
    ['a number under the name of a method', () => ({ close: 1 }), all, 'an object without them'],
  ])('unknown: %s', async (_, make, looked, got) => {
    const message = `closeOnExit(resource, options): expected something to close, with one of the methods ${looked}, got ${got}`
    expect(() => closeOnExit(make())).toThrow(
      expect.objectContaining({ name: 'ExodosTypeError', code: 'ERR_EXODOS_INVALID_ARG', message }),
    )
    expect(await hooks()).toEqual([])
  })

  test("unknown: a method that isn't there, an option that is none", async () => {
    const x = having('close') as { close(): void; stop?: () => void }
    expect(() => closeOnExit(x, { close: 'stop' })).toThrow(/with one of the methods stop, got an object without them$/)
    expect(() => closeOnExit(x, { close: 1 as never })).toThrow(
      /options\.close: expected the name of a method, or a function, got 1/,
    )
    expect(() => closeOnExit(x, { colse: 'close' } as never)).toThrow(/got "colse"/)
    expect(await hooks()).toEqual([])
  })

  test('unknown: `use` pushes nothing, and the scope goes on', async () => {
    const job = scope({ name: 'job' })
    job.defer(call('older'))
    expect(() => job.use({ open() {} } as object)).toThrow(/expected something to close/)
    await job.disposeAsync()
    expect(log).toEqual(['older'])
    expect(await hooks()).toEqual([])
  })
})

describe.concurrent.each([
  ['packages', packages],
  ['built in', builtIn],
])('%s: SIGTERM', (_, rows) => {
  // An Immediate is over before any signal can come.
  const all = rows.filter(({ row, since = 0 }) => nodeMajor >= since && row !== 'Immediate')
  test.each(named(all))('%s', async (_, { make, closed, options, after = '', status = 'ok' }) => {
    const source = `${clients}${make}
      onExit(async () => say('closed ' + Boolean(${closed})), { name: 'other' })
      closeOnExit(x, ${options ?? '{}'})
      ${after}
      say('ready')
      hold()`
    const { signal, stderr, lines, report } = await runAndKill(source, 'SIGTERM')
    const statuses = report?.hooks.filter(({ name }) => !['peer', 'other'].includes(name)).map((hook) => hook.status)
    expect({ signal, statuses, lines: lines.filter((line) => line.startsWith('closed')) }, stderr).toEqual({
      signal: 'SIGTERM',
      statuses: [status],
      lines: ['closed true'],
    })
    // What is overdue is told.
    if (status === 'ok') expect(stderr).toBe('')
  })
})

describe
  .skipIf(absent)
  .concurrent('with the real server: what is under way at SIGTERM is answered before the connection is closed', () => {
    const servers: Partial<Record<'postgres' | 'redis', Server>> = {}
    beforeAll(async () => {
      servers.postgres = await startServer('postgres')
      servers.redis = await startServer('redis')
    }, 30_000)
    afterAll(() => Promise.all([servers.postgres?.stop(), servers.redis?.stop()]))

    const at = `{ host: '127.0.0.1', port: +process.env.PORT, user: 'postgres', database: 'postgres' }`
    const rows: { row: string; server: 'postgres' | 'redis'; make: string; under: string }[] = [
      {
        row: 'pg Pool',
        server: 'postgres',
        make: `const x = new (require('pg').Pool)(${at})`,
        under: `x.query('select pg_sleep(0.3)')`,
      },
      { row: 'postgres', server: 'postgres', make: `const x = require('postgres')(${at})`, under: 'x`select pg_sleep(0.3)`' },
      {
        row: 'knex with pg',
        server: 'postgres',
        make: `const x = require('knex')({ client: 'pg', connection: ${at} })`,
        under: `x.raw('select pg_sleep(0.3)')`,
      },
      {
        row: 'ioredis',
        server: 'redis',
        make: `const { Redis } = require('ioredis'); const x = new Redis({ port: +process.env.PORT }); await x.ping()`,
        under: `x.blpop('nothing', 0.3)`,
      },
      {
        row: 'redis',
        server: 'redis',
        make: `const x = await require('redis').createClient({ socket: { port: +process.env.PORT } }).connect()`,
        under: `x.blPop('nothing', 0.3)`,
      },
    ]
    test.each(named(rows))('%s', async (_, { server, make, under }) => {
      const source = `${clients}${make}
      closeOnExit(x, { name: 'x' })
      ${under}.then(() => say('answered'))
      await sleep(50)
      say('ready')
      hold()`
      const { signal, stderr, lines, report } = await runAndKill(source, 'SIGTERM', { env: { PORT: `${servers[server]?.port}` } })
      const hooks = report?.hooks.map(({ name, status }) => `${name} ${status}`)
      expect({ signal, stderr, lines, hooks }).toEqual({
        signal: 'SIGTERM',
        stderr: '',
        lines: ['ready', 'answered'],
        hooks: ['x ok'],
      })
    })
  })

test.concurrent('registered twice: its callback is waited for all the same', async () => {
  const { code, lines, stderr } = await run(`${clients}
    const x = { end(callback) { setTimeout(() => { say('closed'); callback() }, 20) } }
    closeOnExit(x, { name: 'one' })
    closeOnExit(x, { name: 'two' })
    const { hooks } = await runExitHooks()
    say(hooks.map(({ name, status }) => name + ' ' + status).join())`)
  expect({ code, lines, stderr }).toEqual({ code: 0, lines: ['closed', 'two ok'], stderr: '' })
})

test.concurrent('registered twice: an async method stays out of the synchronous part', async () => {
  const { lines } = await run(`${clients}
    const x = { async close() { say('closing') } }
    closeOnExit(x)
    closeOnExit(x)
    process.reallyExit(0)`)
  expect(lines).toEqual([])
})

test.concurrent.each([
  ['throws at every look', 'new Proxy({}, { get() { throw new Error("no") } })'],
  ['is revoked', '(({ proxy, revoke }) => (revoke(), proxy))(Proxy.revocable({}, {}))'],
])('a proxy that %s: ERR_EXODOS_INVALID_ARG', async (_, proxy) => {
  const { lines } = await run(`${clients}try { closeOnExit(${proxy}) } catch (error) { say(error.code) }`)
  expect(lines).toEqual(['ERR_EXODOS_INVALID_ARG'])
})
