import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { Agent, get } from 'node:http'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import type { Report } from '../src/core/report.js'
import { type Program, type ProgramOptions, runAndKill, start } from './support/program.js'
import { isAlive } from './support/supervise.js'

/** How a primary has its workers stopped. */
const adoption: Record<string, { options: ProgramOptions; imports: string }> = {
  'without a change to the program': {
    options: { nodeOptions: ['--import', 'exodos/register'] },
    imports: 'const fork = (env) => cluster.fork(env)',
  },
  'by stopOnExit(cluster.fork())': {
    options: {},
    imports: `
      import { configure } from 'exodos'
      import { stopOnExit } from 'exodos/tree'
      if (cluster.isPrimary) configure({ grace: '10s' })
      const fork = (env) => stopOnExit(cluster.fork(env))`,
  },
}
const adoptions = Object.entries(adoption).map(([how, rest]) => ({ how, ...rest }))
const explicit = adoption['by stopOnExit(cluster.fork())'] as (typeof adoptions)[number]

const beginning = (imports: string) => `
import cluster from 'node:cluster'
import { once } from 'node:events'
import { writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
${imports}
const say = (text) => writeSync(1, text + '\\n')
const { worker } = cluster
/** Each request takes a while. */
const serve = (ms) => {
  const server = createServer((request, response) => {
    say('request')
    setTimeout(() => response.end('answer'), ms)
  })
  server.listen(0)
  return server
}
`

/** The primary: says what becomes of its workers, and does what it is told on stdin. */
const primary = (more = '') => `
if (cluster.isPrimary) {
  cluster.on('online', ({ id, process }) => say(\`online \${id} \${process.pid}\`))
  cluster.on('exit', ({ id, exitedAfterDisconnect }, code, signal) => say(\`gone \${id} \${exitedAfterDisconnect} \${signal ?? code}\`))
  ${more}
  const begin = async () => {
    const [address] = await once(fork(), 'listening')
    return address
  }
  const [{ port }] = await Promise.all([begin(), begin()])
  process.stdin.on('data', (text) => new Function('cluster', text)(cluster)).unref()
  say('ready ' + port)
}
`

/** A worker with a resource and a hook that takes its time; it drains. */
const worker = (ms = 300) => `
if (worker) {
  const { onExit } = await import('exodos')
  const { drainHttp } = await import('@exodos/web')
  onExit(() => say('closed ' + worker.id), { name: 'resource' })
  onExit(async ({ reason }) => {
    await sleep(20)
    say(\`saved \${worker.id} \${reason.first.kind}\`)
  }, { name: 'save', phase: 'save' })
  drainHttp(serve(${ms}))
}
`

/** A worker that knows nothing of exodos. */
const plain = 'if (worker) serve(300)'

async function startCluster(source: string, options: ProgramOptions = {}) {
  const program = start(source, { timeout: 25_000, stdio: ['pipe', 'pipe', 'pipe'], ...options })
  await program.until('ready ')
  const port = Number(/ready (\d+)/.exec(program.printed())?.[1])
  return Object.assign(program, { port, tell: (text: string) => program.child.stdin?.write(text) })
}

const lines = (program: Program, pattern: RegExp) => program.printed().match(new RegExp(pattern, 'gm')) ?? []
/** Their pids, in the order in which they were started. */
const workersOf = (program: Program) =>
  lines(program, /^online .*/)
    .sort()
    .map((line) => Number(line.split(' ')[2]))
/** What the report says of them. */
const childrenIn = (report: Report | undefined) => report?.hooks.find(({ name }) => name === 'children')?.result
const until = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 10 })

/** Resolves with the answer, or with what went wrong. */
const ask = (port: number, agent: Agent | false = false) =>
  new Promise<string>((resolve) => {
    const request = get({ port, agent }, (response) => {
      let text = ''
      response.on('data', (data) => {
        text += data
      })
      response.on('end', () => resolve(text)).on('error', (error) => resolve(error.message))
    })
    request.on('error', (error) => resolve(error.message))
  })

/** Requests that have reached a worker, and aren't answered yet. */
async function askMany(program: Program & { port: number }, count = 6): Promise<Promise<string[]>[]> {
  const answers = Promise.all(Array.from({ length: count }, () => ask(program.port)))
  await until(() => expect(lines(program, /^request$/)).toHaveLength(count))
  // A promise in a list isn't waited for.
  return [answers]
}

const answered = Array(6).fill('answer')

const ways: { way: string; leave(program: Awaited<ReturnType<typeof startCluster>>): unknown; code?: number; signal?: string }[] =
  [
    { way: 'SIGTERM', leave: (program) => program.kill('SIGTERM'), signal: 'SIGTERM' },
    { way: 'SIGINT to the group', leave: ({ child }) => process.kill(-(child.pid as number), 'SIGINT'), signal: 'SIGINT' },
    { way: 'process.exit()', leave: (program) => program.tell('process.exit(3)'), code: 3 },
    { way: 'an uncaught error', leave: (program) => program.tell("throw new Error('on purpose')"), code: 1 },
    { way: 'SIGKILL', leave: (program) => program.kill('SIGKILL'), signal: 'SIGKILL' },
  ]

describe.each(adoptions)('a cluster that is stopped $how', ({ options, imports }) => {
  const source = (more: string) => beginning(imports) + primary(more) + worker()

  test.each(ways)('$way: each worker answers, and closes what it has, once; none is started anew', async (way) => {
    const { leave, code = null, signal = null } = way
    const program = await startCluster(source('cluster.on("exit", () => fork())'), options)
    const [answers] = await askMany(program)
    const workers = workersOf(program)
    const gone = once(program.child, 'exit')
    leave(program)
    await gone
    if (signal !== 'SIGKILL') expect(workers.filter(isAlive)).toEqual([])
    // Their stdout is the primary's, so they have ended, too.
    const { report, ...ended } = await program.ended
    expect(await answers).toEqual(answered)
    expect(ended).toMatchObject({ code, signal })
    expect(workersOf(program)).toEqual(workers)
    expect(lines(program, /^closed .*/).sort()).toEqual(['closed 1', 'closed 2'])
    const kind = signal === 'SIGKILL' ? 'parent' : 'signal'
    expect(lines(program, /^saved .*/).sort()).toEqual([`saved 1 ${kind}`, `saved 2 ${kind}`])
    if (signal === 'SIGKILL') {
      const files = readdirSync(program.dir).filter((name) => /^report\.json\..*-[12]$/.test(name))
      const reports = files.map((name) => JSON.parse(readFileSync(join(program.dir, name), 'utf8')) as Report)
      expect(reports.map(({ reasons, exit }) => [reasons[0]?.kind, exit])).toEqual(Array(2).fill(['parent', { code: 0 }]))
      return
    }
    const ends = lines(program, /^gone .*/).sort()
    // Both signals can reach a worker in one moment: then its threads take them in any order.
    const by = ends.map((line) => (signal === 'SIGINT' ? /SIG(INT|TERM)$/ : /SIGTERM$/).exec(line)?.[0])
    expect(ends).toEqual(by.map((each, i) => `gone ${i + 1} true ${each}`))
    expect(ends).toHaveLength(2)
    const exits = by.map((each) => ({ signal: each }))
    expect(childrenIn(report)).toEqual({
      children: workers.map((pid, i) =>
        expect.objectContaining({ pid, exit: exits[i], report: expect.objectContaining({ exit: exits[i] }) }),
      ),
    })
  })

  test('a single worker that is told to go runs its hooks; the program starts another one, as ever', async () => {
    const program = await startCluster(
      source('cluster.on("exit", () => begin()); cluster.on("listening", ({ id }) => say("serves " + id))'),
      options,
    )
    const calls = [
      ['worker.kill()', 'signal', 'false SIGTERM'],
      ['worker.process.kill("SIGINT")', 'signal', 'false SIGINT'],
      ['worker.disconnect()', 'parent', 'true 0'],
    ] as const
    for (const [i, [call, kind, end]] of calls.entries()) {
      program.tell(`const worker = cluster.workers[${i + 1}]; ${call}`)
      // Two have been there from the beginning.
      await program.until(`serves ${i + 3}`)
      expect(lines(program, /^(saved|closed) .*/).slice(-2)).toEqual([`saved ${i + 1} ${kind}`, `closed ${i + 1}`])
      expect(lines(program, /^gone .*/).at(-1)).toBe(`gone ${i + 1} ${end}`)
    }
    expect(await ask(program.port)).toBe('answer')
    program.tell('cluster.workers[4].process.kill("SIGKILL")')
    await program.until('serves 6')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
    expect(lines(program, /^closed .*/).sort()).toEqual([1, 2, 3, 5, 6].map((id) => `closed ${id}`))
  })
})

describe('a rolling restart', () => {
  /** A new worker first, then the old one goes. */
  const restart = (go: string) => `
    process.on('SIGHUP', async () => {
      for (const old of Object.values(cluster.workers)) {
        await begin()
        const gone = once(old, 'exit')
        ${go}
        await gone
      }
      say('restarted')
    })`

  const zeroCode = adoption['without a change to the program'] as (typeof adoptions)[number]
  const byDisconnect = 'old.disconnect()'
  const bySignal = 'old.exitedAfterDisconnect = true; old.process.kill()'

  test.each([
    { by: 'disconnect()', go: byDisconnect, kind: 'parent', keepAlive: false, ...explicit },
    { by: 'disconnect()', go: byDisconnect, kind: 'parent', keepAlive: true, ...zeroCode },
    { by: 'SIGTERM', go: bySignal, kind: 'signal', keepAlive: true, ...explicit },
  ])(
    'by $by loses no request (kept-alive clients: $keepAlive), and each worker cleans up once',
    async ({ go, kind, keepAlive, imports, options }) => {
      const leaveItToUs = "await import('exodos').then((exodos) => exodos.configure({ signals: { SIGHUP: 'app' } }))"
      const program = await startCluster(beginning(imports) + primary(leaveItToUs + restart(go)) + worker(20), options)
      let isOver = false
      const answers: string[] = []
      const users = Array.from({ length: 8 }, async (_, i) => {
        const agent = new Agent({ keepAlive })
        for (; !isOver; await new Promise((resolve) => setTimeout(resolve, i * 5))) answers.push(await ask(program.port, agent))
        agent.destroy()
      })
      await until(() => expect(answers.length).toBeGreaterThan(20))
      program.kill('SIGHUP')
      await program.until('restarted').finally(() => {
        isOver = true
      })
      await Promise.all(users)
      expect(answers.filter((answer) => answer !== 'answer')).toEqual([])
      expect(lines(program, /^(saved|closed) .*/)).toEqual([`saved 1 ${kind}`, 'closed 1', `saved 2 ${kind}`, 'closed 2'])
      program.kill('SIGTERM')
      expect(await program.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
      expect(lines(program, /^closed .*/).sort()).toEqual([1, 2, 3, 4].map((id) => `closed ${id}`))
      expect(lines(program, /^gone .* true/)).toHaveLength(4)
    },
  )
})

test('workers without exodos are let go of: they answer what is under way', async () => {
  const program = await startCluster(beginning(explicit.imports) + primary() + plain, explicit.options)
  const [answers] = await askMany(program)
  program.kill('SIGTERM')
  expect(await answers).toEqual(answered)
  const { report, ...ended } = await program.ended
  expect(ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
  expect(lines(program, /^gone .*/).sort()).toEqual(['gone 1 true 0', 'gone 2 true 0'])
  expect(childrenIn(report)).toEqual({
    children: Array(2).fill(expect.objectContaining({ asked: 'disconnect', exit: { code: 0 } })),
  })
})

describe('PM2', () => {
  /** Its hooks take longer than there is time. */
  const app = `
    const { onExit } = require('exodos')
    const say = (text) => require('node:fs').writeSync(1, text + '\\n')
    const never = (name, phase) => onExit(() => { say(name); return new Promise(() => {}) }, { name, phase })
    onExit(() => say('last'), { name: 'last' })
    never('release', 'release')
    never('save', 'save')
    never('drain', 'drain')
    setInterval(() => {}, 1000)
    say('ready')`

  /** In cluster mode PM2 says all of it in one variable, which goes into the environment only in its own program. */
  const asCluster = `
    const cluster = require('node:cluster')
    if (cluster.isPrimary) {
      cluster.setupPrimary({ execArgv: process.env.REGISTER ? ['--import', 'exodos/register'] : [] })
      const worker = cluster.fork()
      process.on('message', (message) => worker.send(message))
      process.on('SIGINT', () => worker.process.kill('SIGINT'))
      worker.on('exit', () => process.exit())
    } else {
      Object.assign(process.env, JSON.parse(process.env.pm2_env))
      delete process.env.pm2_env
      ${app}
    }`

  test.each([
    { mode: 'fork', source: app, env: { pm_id: '0' }, grace: 1440 },
    { mode: 'fork', source: app, env: { pm_id: '0', kill_timeout: '3000' }, grace: 2700 },
    { mode: 'cluster', source: asCluster, env: { pm2_env: '{"pm_id":0}' }, grace: 1440 },
    {
      mode: 'cluster, with exodos/register',
      source: asCluster,
      env: { pm2_env: '{"pm_id":0,"kill_timeout":3000}', REGISTER: '1' },
      grace: 2700,
    },
  ])('$mode mode: every hook is called in nine tenths of kill_timeout ($grace ms)', async ({ source, env, grace }) => {
    const stop = async (how: 'SIGINT' | 'shutdown') => {
      const program = start(source, { ext: 'cjs', stdio: ['ignore', 'pipe', 'pipe', 'ipc'], env })
      await program.until('ready')
      if (how === 'SIGINT') program.kill(how)
      else program.child.send(how)
      const { lines, report } = await program.ended
      expect({ how, lines }).toEqual({ how, lines: ['ready', 'drain', 'save', 'release', 'last'] })
      expect(report).toMatchObject({ grace, reasons: [how === 'SIGINT' ? { signal: how } : { kind: 'parent' }] })
      // For a shorter time the machine may be too busy.
      if (grace > 2000) expect(report?.duration).toBeLessThan(3000)
    }
    await Promise.all([stop('SIGINT'), stop('shutdown')])
  })

  test('cluster mode: what is printed last reaches the file that PM2 writes stdout to', async () => {
    const source = `
      const log = require('node:fs').createWriteStream('log')
      process.stdout.write = (...args) => log.write(...args)
      require('exodos').onExit(async () => { for (let i = 0; i < 20; i++) console.log('line ' + i) })
      setInterval(() => {}, 1000)
      require('node:fs').writeSync(1, 'ready')`
    const { dir } = await runAndKill(source, 'SIGINT', { ext: 'cjs' })
    expect(readFileSync(join(dir, 'log'), 'utf8').split('\n')).toHaveLength(21)
  })

  test('a cluster of its own in fork mode: SIGINT goes to all of the tree at the same time', async () => {
    const source = beginning(explicit.imports.replace("configure({ grace: '10s' })", 'configure({})')) + primary() + worker(100)
    const program = await startCluster(source, { env: { pm_id: '0', kill_timeout: '8000' } })
    for (const pid of [program.child.pid as number, ...workersOf(program)]) process.kill(pid, 'SIGINT')
    expect(await program.ended).toMatchObject({ signal: 'SIGINT', stderr: '', report: { grace: 7200, forced: false } })
    expect(lines(program, /^closed .*/).sort()).toEqual(['closed 1', 'closed 2'])
  })
})
