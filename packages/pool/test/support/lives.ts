import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { failed, journals, type Place, until } from '../../../exodos/test/support/deaths.js'
import { type Ended, type Program, type ProgramOptions, start } from '../../../exodos/test/support/program.js'

export type Engine = 'threads' | 'processes' | 'inline'

/**
 * What each worker owns is a file in `work`, which takes 100 ms to be given back. `log` has a line for each that was made,
 * `made N`, and one for each that was given back: `REASON N`, or `receipt N`.
 */
const WORKER = `
import { appendFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { defineWorker } from '@exodos/pool/worker'
const at = (name) => fileURLToPath(new URL(name, import.meta.url))
const note = (text) => appendFileSync(at('log'), text + '\\n')
const mostOf = (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
const forever = () => new Promise(() => {})
export default defineWorker({
  init: async ({ data, worker, receipt }) => {
    if (worker >= data?.failing) {
      note('failed ' + worker)
      while (readFileSync(at('log'), 'utf8').split('made').length < data.failing) await sleep(5)
      throw new Error('no connection')
    }
    const file = at('work/' + worker + '-' + process.hrtime.bigint())
    if (data?.receipts) {
      await receipt.path(file)
      await receipt.command(['/bin/sh', '-c', 'echo "$0" >> "$1"', 'receipt ' + worker, at('log')])
    }
    writeFileSync(file, '')
    note('made ' + worker)
    return { file, worker }
  },
  tasks: {
    echo: (input) => input,
    wait: async (ms) => { await sleep(ms); note('task'); return 'waited' },
    heed: async (_, { signal, progress }) => { progress('begun'); await Promise.race([forever(), mostOf(signal)]) },
    ignore: async (_, { progress }) => { progress('begun'); await forever() },
    spin: (ms, { progress }) => { progress('begun'); for (const end = performance.now() + ms; performance.now() < end; ); return 'spun' },
    fail: (kind) => { throw new RangeError('no such ' + kind) },
    leave: (code) => process.exit(code),
    crash: async () => { setImmediate(() => { throw new Error('nobody handles it') }); await forever() },
    crashLater: () => void setImmediate(() => { throw new Error('nobody handles it') }),
    kill: async () => { process.kill(process.pid, 'SIGKILL'); await forever() },
    uncloneable: () => { throw Object.assign(new RangeError('not this one'), { how: () => {} }) },
  },
  dispose: async ({ file, worker }, { reason }) => {
    await sleep(100)
    rmSync(file)
    note(reason.kind + ' ' + worker)
  },
})
`

const head = (engine: Engine) => `
import { mkdirSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createPool } from '@exodos/pool'
const engine = '${engine}'
const say = (text) => writeSync(1, text + '\\n')
const hold = () => setInterval(() => {}, 60_000)
const file = new URL('worker.mjs', import.meta.url)
mkdirSync(new URL('work', import.meta.url))
writeFileSync(file, ${JSON.stringify(WORKER)})
const make = (options) => createPool(file, { engine, size: 2, ...options })
/** Says how a promise has settled. */
const told = (promise) => promise.then(
  (value) => say('ok ' + value),
  ({ code, name, message }) => say(typeof code === 'string' ? code : name + ': ' + message),
)
/** Resolves when the task has begun. */
const begun = (pool, task, input, options) => new Promise((resolve) => {
  told(pool.run(task, input, { ...options, onProgress: resolve }))
})
/** So many workers are ready, without those that are left out. */
const workers = async (pool, count, gone = []) => {
  for (;;) {
    const ready = pool.stats().workers.filter(({ state, worker }) => state === 'ready' && !gone.includes(worker))
    if (ready.length >= count) return ready
    await sleep(5)
  }
}
`

/** Starts a program that makes pools by `make(options)`. */
export const startMain = (engine: Engine, main: string, options?: ProgramOptions): Program =>
  start(`${head(engine)}\n${main}`, options)

export interface Aftermath extends Ended {
  /** Lines of `log`. */
  log: string[]
  /** How workers went, in the order of the alphabet, and which of them: once each. */
  went: string[]
  gone: number[]
  made: number[]
  /** What nobody gave back, and what is still to be done. */
  left: string[]
}

/** Waits for the end of the program, and of all that it has started. */
export async function aftermath({ ended, dir }: Program): Promise<Aftermath> {
  const state = { state: join(dir, 'state') } as Place
  const end = await ended
  await until('no process is left', () => processesOf(dir).length === 0)
  const log = textOf(join(dir, 'log')).split('\n').filter(Boolean)
  const ways = log.filter((line) => /^\w+ \d+$/.test(line) && !/^(made|failed)/.test(line))
  return {
    ...end,
    log,
    went: ways.map((line) => line.replace(/ .*/, '')).sort(),
    gone: numbersOf(ways),
    made: numbersOf(log.filter((line) => line.startsWith('made '))),
    left: [...readdirSync(join(dir, 'work')), journals(state), ...failed(state)].filter(Boolean),
  }
}

const numbersOf = (lines: string[]) => lines.map((line) => Number(line.split(' ')[1])).sort((a, b) => a - b)

/** By their command lines and environments: workers, and guardians. */
const processesOf = (dir: string) =>
  readdirSync('/proc').filter(
    (pid) => /^\d+$/.test(pid) && ['cmdline', 'environ'].some((name) => textOf(`/proc/${pid}/${name}`).includes(dir)),
  )

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
