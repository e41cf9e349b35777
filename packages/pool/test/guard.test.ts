import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { until } from '../../exodos/test/support/deaths.js'
import { start } from '../../exodos/test/support/program.js'
import { missing, type Server, startServer } from '../../exodos/test/support/servers.js'
import { isAlive } from '../../exodos/test/support/supervise.js'

/** What a worker owns is a directory of its own, with a receipt. Its log says what was called, and where. */
const worker = (init = '') => `
import { appendFileSync, existsSync, mkdirSync, rmdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { threadId } from 'node:worker_threads'
import { guardWorker } from '@exodos/pool/worker'

const id = process.pid + '-' + threadId
const log = (text) => appendFileSync(new URL('log', import.meta.url), text + ' ' + id + '\\n')
const withDir = guardWorker({
  init: async ({ receipt }) => {
    ${init}
    const dir = fileURLToPath(new URL('made/' + id, import.meta.url))
    const record = await receipt.path(dir)
    mkdirSync(dir, { recursive: true })
    record.made()
    log('made')
    return { dir }
  },
  dispose: async ({ dir }) => {
    await sleep(20)
    log('disposed')
    rmdirSync(dir)
  },
})
const forever = () => new Promise(() => setInterval(() => {}, 1000))
const tasks = {
  throw: () => { throw new Error('no') },
  exit: () => process.exit(7),
  uncaught: () => { setTimeout(() => { throw new Error('boom') }); return forever() },
  kill: () => { process.kill(process.pid, 'SIGKILL'); return forever() },
  long: async (dir) => { log('long'); await sleep(300); return existsSync(dir) ? 'kept' : 'lost' },
  wait: () => { log('wait'); return forever() },
  spin: () => { log('spin'); for (;;); },
}
export const add = withDir(({ dir }, a, b) => existsSync(dir) && a + b)
// BullMQ hands over a job, the others what \`run\` was given.
export default withDir(({ dir }, { data, input = data.input }) => tasks[input]?.(dir) ?? input * (dir.endsWith(id) ? 2 : 0))
`

const main = (load: string, pool: string, { source, init }: Way) => `
${load}
import * as fs from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
const require = createRequire(import.meta.url)
const say = (text) => fs.writeSync(1, text + '\\n')
const tell = (promise) => promise.then((value) => say('got ' + value), ({ message }) => say('failed ' + message.split('\\n')[0]))
const hold = () => setInterval(() => {}, 1000)
const log = new URL('log', import.meta.url), file = new URL('worker.mjs', import.meta.url), filename = fileURLToPath(file)
fs.writeFileSync(file, ${JSON.stringify(worker(init))})
const logged = async (text) => {
  while (!fs.existsSync(log) || !fs.readFileSync(log, 'utf8').includes(text)) await new Promise((resolve) => setTimeout(resolve, 5))
}
const workerPid = () => Number.parseInt(fs.readFileSync(log, 'utf8').split(' ')[1])
${pool}
${source}
`

interface Pool {
  name: string
  kind: 'threads' | 'processes'
  /** Makes `pool`, `run` and `end`. */
  source: string
}

const piscina = `
const { Piscina } = await import('piscina')
const pool = new Piscina({ filename, minThreads: 1, maxThreads: 1 })
const run = (input, signal) => pool.run({ input }, { signal })
const end = () => pool.destroy()`

// Without \`env\` its processes get no environment at all.
const tinypool = (runtime: string) => `
const { default: Tinypool } = await import('tinypool')
const pool = new Tinypool({ filename, runtime: '${runtime}', env: process.env, minThreads: 1, maxThreads: 1 })
const run = (input, signal) => pool.run({ input }, { signal })
const end = () => pool.destroy()`

const jestWorker = (enableWorkerThreads: boolean) => `
const { Worker } = require('jest-worker')
const options = { exposedMethods: ['default', 'add'], numWorkers: 1, maxRetries: 0, enableWorkerThreads: ${enableWorkerThreads} }
const pool = new Worker(filename, options)
const run = (input) => pool.default({ input })
const end = () => pool.end()`

const bullmq = (useWorkerThreads: boolean) => `
const { Queue, QueueEvents, Worker } = require('bullmq')
const connection = { host: '127.0.0.1', port: +process.env.PORT }, name = 'q' + process.pid
const queue = new Queue(name, { connection }), events = new QueueEvents(name, { connection })
const pool = new Worker(name, file, { connection, useWorkerThreads: ${useWorkerThreads} })
await events.waitUntilReady()
const run = async (input) => (await queue.add('job', { input })).waitUntilFinished(events)
const end = async () => { await pool.close(); await queue.close(); await events.close() }`

const pools: Pool[] = [
  { name: 'piscina', kind: 'threads', source: piscina },
  { name: 'tinypool', kind: 'threads', source: tinypool('worker_threads') },
  { name: 'tinypool', kind: 'processes', source: tinypool('child_process') },
  { name: 'jest-worker', kind: 'threads', source: jestWorker(true) },
  { name: 'jest-worker', kind: 'processes', source: jestWorker(false) },
  { name: 'bullmq', kind: 'threads', source: bullmq(true) },
  { name: 'bullmq', kind: 'processes', source: bullmq(false) },
]

interface Way {
  way: string
  source: string
  /** In place of nothing, at the beginning of `init`. */
  init?: string
  /** Sent to main once it has printed `ready`. */
  kill?: NodeJS.Signals
  /** Of pools that can be left like this. */
  only?: (pool: Pool) => boolean
  lines: RegExp
  end?: number | NodeJS.Signals
  /** No code can run: what is left is the receipt's. */
  isRescued?: (pool: Pool) => boolean
  isNeverMade?: true
  load?: string
  nodeOptions?: string[]
}

const is =
  (...names: string[]) =>
  ({ name, kind }: Pool) =>
    names.includes(name) || names.includes(`${name} ${kind}`)
const inThreads = ({ kind }: Pool) => kind === 'threads'
const inProcesses = ({ kind }: Pool) => kind === 'processes'
const slowly = `await sleep(50); log('begun'); await sleep(300)`
const abort = (task: string) =>
  `const c = new AbortController(); const t = tell(run('${task}', c.signal)); await logged('${task}'); c.abort(); await t; await end()`
const oneAndHold = `await tell(run(21)); say('ready'); hold()`

const ways: Way[] = [
  {
    way: "the pool's own end, after results and an error",
    source: `for (const input of [21, 'throw', 4]) await tell(run(input)); await end()`,
    lines: /^got 42,failed no,got 8$/,
  },
  { way: 'never closed: natural end of main', source: `await tell(run(21))`, lines: /^got 42$/, only: is('piscina', 'tinypool') },
  { way: 'never closed: process.exit(3) in main', source: `await tell(run(21)); process.exit(3)`, lines: /^got 42$/, end: 3 },
  { way: 'SIGTERM to main', source: oneAndHold, kill: 'SIGTERM', lines: /^got 42,ready$/, end: 'SIGTERM' },
  {
    way: 'SIGKILL of main',
    source: oneAndHold,
    kill: 'SIGKILL',
    lines: /^got 42,ready$/,
    end: 'SIGKILL',
    isRescued: inThreads,
  },
  {
    way: 'process.exit(7) in a task, and the next one in another worker',
    source: `await tell(run('exit')); await tell(run('long')); await end()`,
    lines: /^failed .+,got kept$/,
    only: (pool) => !is('tinypool threads')(pool),
  },
  {
    way: 'process.exit(7) in a task, which is never told: it listens to errors of its threads alone',
    source: `tell(run('exit')); await logged('disposed')`,
    lines: /^$/,
    only: is('tinypool threads'),
  },
  { way: 'an uncaught error in the worker', source: `await tell(run('uncaught')); await end()`, lines: /^failed .+$/ },
  {
    way: 'SIGKILL of the worker',
    source: `await tell(run('kill')); await end()`,
    lines: /^failed .+$/,
    only: inProcesses,
    isRescued: () => true,
  },
  { way: 'a waiting task is aborted', source: abort('wait'), lines: /^failed .+$/, only: is('piscina', 'tinypool threads') },
  { way: 'a blocking task is aborted', source: abort('spin'), lines: /^failed .+$/, only: is('piscina', 'tinypool threads') },
  ...['wait', 'spin'].map((task) => ({
    way: `an endless task is aborted (${task}): SIGTERM, and SIGKILL a second later`,
    source: abort(task),
    lines: /^failed .+$/,
    only: is('tinypool processes'),
    isRescued: () => true,
  })),
  {
    way: 'init fails, and each task is told',
    init: `throw new Error('no init')`,
    source: `for (const input of [1, 2]) await tell(run(input)); await end()`,
    lines: /^failed no init,failed no init$/,
    isNeverMade: true,
  },
  {
    way: "the pool's own end during init",
    init: slowly,
    source: `tell(run(1)); await logged('begun'); await end()`,
    lines: /^(got 2|failed .+)?$/,
  },
  {
    way: 'process.exit(3) in main during init',
    init: slowly,
    source: `tell(run(1)); await logged('begun'); process.exit(3)`,
    lines: /^(got 2|failed .+)?$/,
    end: 3,
  },
  {
    way: "main requires the worker's file, as jest-worker does to find its functions: nothing is made in main",
    source: `require(filename); await tell(run(21)); await tell(pool.add(1, 2)); await end()
      say(fs.readFileSync(log, 'utf8').includes(process.pid + '-0'))`,
    lines: /^got 42,got 3,false$/,
    only: is('jest-worker'),
  },
  {
    way: "main calls a task, too: that makes one more resource, which is main's",
    source: `const { default: task } = await import(file); await tell(run(21)); await tell(task({ input: 21 })); await end()
      say(fs.readFileSync(log, 'utf8').includes('made ' + process.pid + '-0'))`,
    lines: /^got 42,got 42,true$/,
    only: is('piscina'),
  },
  {
    way: 'SIGTERM to main and worker during a job, which keeps what it works with',
    source: `const { closeOnExit } = await import('exodos'); closeOnExit(pool); tell(run('long')); await logged('long')
      process.kill(workerPid(), 'SIGTERM'); process.kill(process.pid, 'SIGTERM'); hold()`,
    lines: /^got kept$/,
    end: 'SIGTERM',
    only: is('bullmq processes'),
  },
  {
    way: 'SIGTERM to main during a job, with the pool closed in drain',
    source: `onExit(() => pool.close(), { phase: 'drain' }); tell(run('long')); await logged('long')
      process.kill(process.pid, 'SIGTERM'); hold()`,
    lines: /^got kept$/,
    end: 'SIGTERM',
    only: is('bullmq'),
  },
  ...[
    { way: 'main has imported exodos', load: `import 'exodos'` },
    { way: 'main runs with exodos/register', load: '', nodeOptions: ['--import', 'exodos/register'] },
    { way: 'main has not loaded exodos', load: '', isRescued: () => true },
    {
      way: 'main has imported exodos after the start of the pool',
      load: '',
      late: `await import('exodos')`,
      isRescued: () => true,
    },
  ].flatMap(({ way, late = '', ...rest }) => [
    {
      ...rest,
      way: `${way}: pool.destroy()`,
      source: `${late}; await tell(run(21)); await end()`,
      lines: /^got 42$/,
      only: is('piscina'),
    },
    {
      ...rest,
      way: `${way}: SIGTERM`,
      source: `${late}; ${oneAndHold}`,
      kill: 'SIGTERM' as const,
      lines: /^got 42,ready$/,
      end: 'SIGTERM' as const,
      only: is('piscina'),
    },
  ]),
]

const noRedis = missing('redis')
let redis: Server | undefined
beforeAll(async () => {
  if (!noRedis) redis = await startServer('redis')
}, 30_000)
afterAll(() => redis?.stop())

async function observe(pool: Pool, way: Way) {
  const { load = `import { onExit } from 'exodos'; onExit(() => {})`, nodeOptions = [] } = way
  const env = { PORT: String(redis?.port) }
  const program = start(main(load, pool.source, way), { env, nodeOptions, timeout: 25_000 })
  if (way.kill) {
    await program.until('ready')
    program.kill(way.kill)
  }
  const { lines, code, signal } = await program.ended
  const log = () => read(join(program.dir, 'log')).split('\n').filter(Boolean)
  const left = () => (existsSync(join(program.dir, 'made')) ? readdirSync(join(program.dir, 'made')) : [])
  const pids = () => log().map((line) => Number(line.split(' ')[1]?.split('-')[0]))
  // Processes end after their main, and guardians come after them.
  await until('the end of the workers', () => !pids().some(isAlive))
  await until('nothing left', () => left().length === 0)
  const ids = (word: string) => log().flatMap((line) => (line.startsWith(word) ? [line.split(' ')[1]] : []))
  return { way: way.way, lines: lines.join(), end: signal ?? code, made: ids('made').sort(), disposed: ids('disposed').sort() }
}

const read = (file: string) => (existsSync(file) ? readFileSync(file, 'utf8') : '')

for (const pool of pools)
  test.skipIf(pool.name === 'bullmq' && noRedis)(
    `${pool.name}, ${pool.kind}: each resource is given back once, whichever way a worker leaves`,
    async () => {
      const rows = ways.filter(({ only }) => only?.(pool) ?? true)
      const seen: (Partial<Awaited<ReturnType<typeof observe>>> & { error?: unknown })[] = []
      const rest = rows.entries()
      const runSome = async () => {
        for (const [index, way] of rest) seen[index] = await observe(pool, way).catch((error) => ({ way: way.way, error }))
      }
      await Promise.all([runSome(), runSome(), runSome()])
      const expected = rows.map(({ way, lines, end = 0, isRescued, isNeverMade }, index) => ({
        way,
        lines: expect.stringMatching(lines),
        end,
        made: isNeverMade ? [] : expect.arrayContaining([expect.any(String)]),
        disposed: isRescued?.(pool) ? [] : seen[index]?.made,
      }))
      expect(seen).toEqual(expected)
    },
    120_000,
  )
