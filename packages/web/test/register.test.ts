import { cpSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Report } from '../../exodos/src/core/report.js'
import { node, type Program, run, start } from '../../exodos/test/support/program.js'
import { get } from './support/app.js'
import { cert, key } from './support/certificate.js'
import { connect, hangUp } from './support/wire.js'

// Programs outside of this repository, as only there a package can be missing.
const home = join(realpathSync(tmpdir()), `exodos-register-${process.pid}`)
const packages = { exodos: new URL('../../exodos', import.meta.url), '@exodos/web': new URL('..', import.meta.url) }

function install(dir: string, installed: (keyof typeof packages)[], how: 'link' | 'copy'): void {
  for (const one of installed) {
    const [from, to] = [fileURLToPath(packages[one]), join(dir, 'node_modules', one)]
    mkdirSync(join(to, '..'), { recursive: true })
    if (how === 'link') symlinkSync(from, to)
    else for (const part of ['dist', 'package.json']) cpSync(join(from, part), join(to, part), { recursive: true })
  }
}
const [linked, copied, without] = [join(home, 'linked'), join(home, 'copied'), join(home, 'without')]

beforeAll(() => {
  install(linked, ['exodos', '@exodos/web'], 'link')
  install(copied, ['exodos', '@exodos/web'], 'copy')
  // A link would lead back into the repository, where it is installed.
  install(without, ['exodos'], 'copy')
})

afterAll(() => {
  hangUp()
  rmSync(home, { recursive: true, force: true })
})

interface Way {
  nodeOptions?: string[]
  env?: Record<string, string>
  ext?: 'mjs' | 'cjs'
}
const viaImport: Way = { nodeOptions: ['--import', 'exodos/register'] }

/** Starts a program in one of these directories. */
function startIn(dir: string, source: string, { nodeOptions = [], env = {}, ext = 'mjs' }: Way, of = start): Program {
  return of(source, {
    env: { EXODOS_GRACE: '3s', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
    command: (file) => {
      const app = join(dir, `app-${file.split('/').at(-2)}.${ext}`)
      writeFileSync(app, readFileSync(file))
      return ['/bin/sh', '-c', 'cd "$1"; shift; exec "$@"', 'sh', dir, node, ...nodeOptions, app]
    },
  })
}

/** Not a word of exodos in it. `/held` waits for a line on stdin. */
const server = (setup = '') => `
import { createServer } from 'node:http'
const handle = (request, response) => {
  if (request.url === '/now') return response.end('now')
  console.log('held')
  process.stdin.once('data', () => response.end('held')).on('end', () => {})
}
const listen = () => new Promise((done) => {
  const server = createServer(handle).listen(0, '127.0.0.1', () => {
    console.log('port ' + server.address().port + '.')
    done(server)
  })
})
${setup || 'await listen()'}
console.log('ready')`
const commonJs = server('')
  .replace(/import (.*) from ('.*')/, 'const $1 = require($2)')
  .replace('await listen()', 'listen()')

const portsOf = (program: Program) => [...program.printed().matchAll(/port (\d+)\./g)].map((match) => Number(match[1]))

/** Sends SIGTERM and waits until it drains: a connection that never sends anything is closed then. */
async function leaves(program: Program, port: number): Promise<void> {
  const silent = await connect(port)
  program.kill('SIGTERM')
  await silent.closed
}

/** Are a request under way, and one on a kept-alive connection, answered? Then the process is gone by SIGTERM. */
async function drains(program: Program) {
  await program.until('ready')
  await program.until('port')
  const [port = 0] = portsOf(program)
  const [held, idle] = [await connect(port), await connect(port)]
  await idle.send(get('/now'))
  await idle.answers()
  await held.send(get('/held'))
  await program.until('held')
  await leaves(program, port)
  const answered = async (wire: typeof held, count: number, body: string) => {
    expect((await wire.answers(count)).at(-1)).toMatchObject({ status: 200, headers: { connection: 'close' }, body })
    expect(await wire.closed).toBe('FIN')
  }
  await idle.send(get('/now'))
  await answered(idle, 2, 'now')
  program.child.stdin?.write('go\n')
  await answered(held, 1, 'held')
  const { signal, stderr, report } = await program.ended
  expect({ signal, stderr }).toEqual({ signal: 'SIGTERM', stderr: '' })
  return report as Report
}

const namesOf = ({ hooks }: Report) => hooks.map(({ name, phase }) => `${phase} ${name}`)

describe.concurrent('a program without a word of exodos', () => {
  const ways: [string, string, string, Way][] = [
    ['--import', linked, server(), viaImport],
    ['--import, CommonJS', linked, commonJs, { ...viaImport, ext: 'cjs' }],
    ['--require', linked, server(), { nodeOptions: ['--require', 'exodos/register'] }],
    ['--require, CommonJS', linked, commonJs, { nodeOptions: ['--require', 'exodos/register'], ext: 'cjs' }],
    ['NODE_OPTIONS', linked, server(), { env: { NODE_OPTIONS: '--import=exodos/register' } }],
    ['NODE_OPTIONS, --require', linked, server(), { env: { NODE_OPTIONS: '--require=exodos/register' } }],
    ['packages in node_modules', copied, server(), viaImport],
    ['twice', linked, server(), { ...viaImport, env: { NODE_OPTIONS: '--require=exodos/register' } }],
  ]
  test.each(ways)('its server is drained: %s', async (_, dir, source, way) => {
    const report = await drains(startIn(dir, source, way))
    expect(namesOf(report).filter((name) => name.startsWith('drain'))).toEqual(['drain http'])
  })

  test('servers of each kind are found, and no others', async () => {
    const source = `
      import http from 'node:http'
      import https from 'node:https'
      import http2 from 'node:http2'
      import net from 'node:net'
      const tls = ${JSON.stringify({ key, cert })}
      const servers = [http.createServer(), https.createServer(tls), http2.createServer(), http2.createSecureServer(tls), net.createServer()]
      for (const server of servers) await new Promise((done) => server.listen(0, '127.0.0.1', done))
      console.log('ready')`
    const program = startIn(linked, source, viaImport)
    await program.until('ready')
    program.kill('SIGTERM')
    const { report, signal } = await program.ended
    const drained = namesOf(report as Report).filter((name) => name.startsWith('drain'))
    expect({ signal, drained }).toEqual({ signal: 'SIGTERM', drained: Array.from({ length: 4 }, () => 'drain http') })
  })
})

test.concurrent('several servers, those made later, and those closed early', async () => {
  const setup = `
    const first = await listen()
    ;(await listen()).close()
    setTimeout(async () => { await listen(); await listen(); console.log('later') }, 50)`
  const program = startIn(linked, server(setup), viaImport)
  await program.until('later')
  const [first = 0, , third = 0, fourth = 0] = portsOf(program)
  const wires = []
  for (const port of [first, third, fourth]) {
    const wire = await connect(port)
    wires.push(wire)
    await wire.send(get('/held'))
  }
  await program.until('held\n'.repeat(3))
  await leaves(program, first)
  program.child.stdin?.write('go\n')
  for (const wire of wires) {
    expect(await wire.answers()).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'held' }])
    expect(await wire.closed).toBe('FIN')
  }
  const { signal, stderr, report } = await program.ended
  expect({ signal, stderr }).toEqual({ signal: 'SIGTERM', stderr: '' })
  expect(namesOf(report as Report).filter((name) => name.startsWith('drain'))).toHaveLength(3)
})

describe.concurrent('what a program says itself counts', () => {
  test.each([
    [
      'before it listens',
      `const server = createServer(handle); drainHttp(server, { name: 'mine' }); server.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port + '.'))`,
    ],
    ['after', `drainHttp(await listen(), { name: 'mine' })`],
  ])('drainHttp %s', async (_, setup) => {
    const source = `import { drainHttp } from '@exodos/web'\n${server(setup)}`
    const report = await drains(startIn(linked, source, viaImport))
    expect(namesOf(report).filter((name) => name.startsWith('drain'))).toEqual(['drain mine'])
  })
})

describe.concurrent('without @exodos/web', () => {
  test('servers do what they did', async () => {
    const program = startIn(without, server(), viaImport)
    await program.until('ready')
    const wire = await connect(portsOf(program)[0] as number)
    await wire.send(get('/now'))
    expect(await wire.answers()).toMatchObject([{ status: 200, headers: { connection: 'keep-alive' } }])
    program.kill('SIGTERM')
    await wire.closed
    expect(await program.ended).toMatchObject({ code: null, signal: 'SIGTERM', stderr: '' })
  })

  test('a program without a server ends as it did', async () => {
    expect(await startIn(without, 'process.exitCode = 3', viaImport).ended).toMatchObject({ code: 3, stdout: '', stderr: '' })
  })
})

describe.concurrent('a program without a server', () => {
  const programs: [string, string, object][] = [
    ['natural end', `console.log('out')`, { code: 0, stdout: 'out\n', stderr: '' }],
    ['process.exitCode', `process.exitCode = 4`, { code: 4, stdout: '', stderr: '' }],
    ['process.exit', `process.exit(5)`, { code: 5, stdout: '', stderr: '' }],
    ['an uncaught error', `throw new Error('boom')`, { code: 1, stdout: '', stderr: expect.stringContaining('Error: boom') }],
    [
      'a signal',
      `process.kill(process.pid, 'SIGTERM'); setTimeout(() => {}, 9000)`,
      { signal: 'SIGTERM', stdout: '', stderr: '' },
    ],
    [
      'a server that never listened',
      `import('node:http').then(({ createServer }) => { createServer() })`,
      { code: 0, stderr: '' },
    ],
  ]
  test.each(programs)('ends as it did: %s', async (_, source, expected) => {
    const ended = await startIn(linked, source, viaImport).ended
    expect(ended).toMatchObject(expected)
  })

  test('its listeners and patches are those of Node', async () => {
    const source = `console.log(JSON.stringify([process.eventNames().sort(), process.exit.name, Object.hasOwn(process, 'emit')]))`
    const [alone, adopted] = await Promise.all([run(source), startIn(linked, source, viaImport).ended])
    expect(adopted).toMatchObject({ code: 0, stderr: '', stdout: alone.stdout })
  })
})

test.concurrent('a server that is closed by the program lets it end', async () => {
  const program = startIn(linked, server(`;(await listen()).close()`), viaImport)
  expect(await program.ended).toMatchObject({ code: 0, signal: null, stderr: '' })
})
