/** What `drainHttp` costs a request: CPU time of a server's process with it and without it, over kept-alive connections. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { compare, median } from './measure.mjs'

const CONNECTIONS = 50
const WARM_UP = 30_000
/** Requests of one turn; the two servers take turns, in one machine's weather. */
const TURN = 5000
const TURNS = 15

const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'

/** Each round has two new processes: one process alone is faster than the next by some per cent, for its whole life. */
export async function benchmark({ node, rounds = 10 }) {
  const samples = { drained: [], bare: [] }
  for (let round = 0; round < rounds; round++) {
    const names = round % 2 === 0 ? ['drained', 'bare'] : ['bare', 'drained']
    const servers = []
    for (const name of names) servers.push({ name, cpu: [], ...(await startServer(node, { drained: name === 'drained' })) })
    for (const { port } of servers) await load(port, WARM_UP)
    for (let turn = 0; turn < TURNS; turn++) {
      for (const server of servers) {
        const before = await server.ask('cpu')
        await load(server.port, TURN)
        server.cpu.push(((await server.ask('cpu')) - before) / TURN)
      }
    }
    for (const { name, cpu, stop } of servers) {
      samples[name].push(median(cpu))
      await stop()
    }
  }
  const row = compare('a request with drainHttp, CPU', samples.drained, 'bare node:http', samples.bare, 'µs', 1.02)
  // Of the two that ran together each.
  const ratio = median(samples.drained.map((cpu, round) => cpu / samples.bare[round]))
  return [{ ...row, ratio: ratio.toFixed(3), met: ratio <= 1.02 ? 'yes' : 'no' }]
}

/** A server's process. It answers `cpu` with µs, `heap` with bytes after a collection. `setup` sees `server`, and `drain` or undefined. */
export async function startServer(node, { drained, setup = '', options = [] }) {
  const source = `
    import { createServer } from 'node:http'
    const server = createServer((request, response) => handle(request, response))
    let handle = (request, response) => response.end('done')
    const drain = ${drained} ? (await import('@exodos/web')).drainHttp(server) : undefined
    ${setup}
    process.on('message', (what) => {
      if (what === 'heap') { gc(); gc() }
      const { user, system } = process.cpuUsage()
      process.send(what === 'heap' ? process.memoryUsage().heapUsed : user + system)
    })
    server.listen(0, '127.0.0.1', () => process.send(server.address().port))`
  const child = spawn(node, [...options, '--input-type=module', '-e', source], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    env: { PATH: process.env.PATH },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const gone = once(child, 'exit')
  const [port] = await Promise.race([once(child, 'message'), gone.then(() => Promise.reject(new Error('no server')))])
  return {
    port,
    ask: async (what) => {
      child.send(what)
      return (await once(child, 'message'))[0]
    },
    stop: async () => {
      child.kill('SIGKILL')
      await gone
    },
  }
}

/** So many requests over so many connections, each of which has one under way. */
export async function load(port, count, connections = CONNECTIONS) {
  let left = count
  const one = () =>
    new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1').setEncoding('latin1').setNoDelay(true)
      const next = () => (left-- > 0 ? socket.write(REQUEST) : socket.end())
      let text = ''
      socket.on('connect', next).on('error', reject).on('close', resolve)
      socket.on('data', (data) => {
        text += data
        if (!text.endsWith('done')) return
        text = ''
        next()
      })
    })
  await Promise.all(Array.from({ length: connections }, one))
}
