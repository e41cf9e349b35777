import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeProject } from '../../exodos/test/support/suites.js'

const require = createRequire(import.meta.url)
const typescript = dirname(require.resolve('typescript/package.json'))
const tsc = join(typescript, 'bin/tsc')
const pool = fileURLToPath(new URL('..', import.meta.url))

/** Workers of several kinds. What is wrong must not compile. */
const files = {
  'image.worker.ts': `
import { defineWorker, type InitContext, type TaskContext } from '@exodos/pool/worker'
import type { Same } from './same.js'

export interface Job { readonly path: string; readonly width?: number }
const connect = async (dsn: string) => ({ dsn, query: async (text: string) => [text], close: async () => {} })

export default defineWorker({
  init: async ({ data, worker, receipt }: InitContext<{ dsn: string }>) => {
    const record = await receipt.path('/tmp/a', { tree: true })
    record.made()
    await receipt.process(1)
    // @ts-expect-error
    await receipt.path(5)
    // @ts-expect-error
    void data.dns
    return { db: await connect(data.dsn), worker: worker.toFixed() }
  },
  tasks: {
    resize: async (job: Job, { resource, signal, progress, transfer, worker }) => {
      const same: Same<typeof resource.worker, string> = true
      const rows: string[] = await resource.db.query(job.path)
      // @ts-expect-error
      void resource.nothing
      signal.throwIfAborted()
      progress({ done: worker })
      transfer(new ArrayBuffer(1))
      // @ts-expect-error
      transfer('text')
      return { rows: rows.length, same }
    },
    optional: (limit?: number) => limit ?? 0,
    none: () => 'none' as const,
    onlyContext: (_: undefined, ctx: TaskContext<{ worker: string }>) => ctx.resource.worker,
    nothing: async (_: number): Promise<void> => {},
    either: (input: string | undefined, { resource }) => [input, resource.worker],
    unsure: (input: unknown) => input,
  },
  dispose: async (resource, { reason, signal, remaining }) => {
    const kind: 'close' | 'idle' | 'recycle' | 'abort' | 'init' | 'exit' | 'signal' | 'error' | string = reason.kind
    if (!signal.aborted && remaining() > 0) await resource.db.close()
    // @ts-expect-error
    void resource.nothing
    return kind
  },
  disposeSync: (resource, ctx) => void [resource.db.dsn, ctx.remaining()],
})

// @ts-expect-error
defineWorker({})
// @ts-expect-error
defineWorker({ tasks: { a: 5 } })
// @ts-expect-error
defineWorker({ tasks: {}, initialize: () => {} })
`,
  'plain.worker.ts': `
import { defineWorker } from '@exodos/pool'
export default defineWorker({ tasks: { add: ([a, b]: readonly [number, number]) => a + b } })
`,
  'sync.worker.ts': `
import { defineWorker, type InitContext } from '@exodos/pool'
export default defineWorker({
  init: ({ data }: InitContext<number | undefined>) => data ?? 0,
  tasks: { next: (by: number, { resource }) => resource + by, wide: (_: bigint): string | Promise<number> => '' },
})
`,
  'same.ts': `
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
`,
  'consumer.ts': `
import {
  type Closed, type CloseOptions, type CrashPolicy, createPool, type DataOption, type EngineName, type Exit, type MapOptions,
  type Pool, PoolError, type PoolErrorCode, type PoolOptions, type PoolStats, type RecycleOptions, type Results, type RunOptions,
  type SizeOptions, type Times, type TimeoutOptions, WorkerDiedError, type WorkerStats, guardWorker,
} from '@exodos/pool'
import type { Job } from './image.worker.js'
import definition from './plain.worker.js'
import type { Same } from './same.js'

const sure = <T extends true>(): T | undefined => undefined
const url = new URL('file:///image.worker.js')
const size: SizeOptions = { min: 1, max: 4, idleTimeout: '30s' }
const recycle: RecycleOptions = { tasks: 1, heapBytes: 1, age: '1h' }
const timeout: TimeoutOptions = { drain: 1, dispose: '5s', abort: '1s' }
const engine: EngineName = 'processes'
const onCrash: CrashPolicy = 'retry'
const options: PoolOptions = {
  name: 'a', engine, size, maxQueue: 5, recycle, timeout, onCrash, env: { A: 'a' }, execArgv: ['--no-warnings'],
  resourceLimits: { maxOldGenerationSizeMb: 64 }, stdio: 'pipe',
}
const data: DataOption<number> = { data: 5 }

type Image = typeof import('./image.worker.js')
const pool = createPool<Image>(url, { ...options, data: { dsn: 'a' } })
// @ts-expect-error
createPool<Image>(url)
// @ts-expect-error
createPool<Image>(url, { size: 4 })
// @ts-expect-error
createPool<Image>(url, { data: { dsn: 5 } })
// @ts-expect-error
createPool<Image>(url, { data: { dsn: 'a' }, engine: 'fibers' })
// @ts-expect-error
createPool<Image>(url, { data: { dsn: 'a' }, sise: 4 })
// @ts-expect-error
createPool<Image>({ data: { dsn: 'a' } })

export async function run(): Promise<void> {
  const resized = await pool.run('resize', { path: 'a' })
  sure<Same<typeof resized, { rows: number; same: true }>>()
  const runOptions: RunOptions = {
    signal: AbortSignal.timeout(5), timeout: '5s', priority: 1, key: 'a', transfer: [new ArrayBuffer(1)],
    onProgress: (value: unknown) => void value,
  }
  await pool.run('resize', { path: 'a', width: 5 }, runOptions)
  await pool.run('optional')
  await pool.run('optional', 5, { key: 5 })
  const none = await pool.run('none')
  sure<Same<typeof none, 'none'>>()
  await pool.run('none', undefined, { priority: 1 })
  const worker = await pool.run('onlyContext')
  sure<Same<typeof worker, string>>()
  const nothing = await pool.run('nothing', 5)
  sure<Same<typeof nothing, void>>()
  await pool.run('either')
  const either = await pool.run('either', 'a')
  sure<Same<typeof either, (string | undefined)[]>>()
  await pool.run('unsure', Symbol)
  // @ts-expect-error
  await pool.run('risize', { path: 'a' })
  // @ts-expect-error
  await pool.run('resize')
  // @ts-expect-error
  await pool.run('resize', 'a')
  // @ts-expect-error
  await pool.run('resize', { path: 'a', hight: 5 })
  // @ts-expect-error
  await pool.run('optional', 'a')
  // @ts-expect-error
  await pool.run('none', 5)
  // @ts-expect-error
  await pool.run('resize', { path: 'a' }, { prio: 1 })
  // @ts-expect-error
  await pool.run('resize', { path: 'a' }, { onProgress: (value: string) => value })
  // @ts-expect-error
  await pool.run('resize', { path: 'a' }, { transfer: ['a'] })
  // @ts-expect-error
  await pool.run('resize', { path: 'a' }, { timeout: true })
}

async function* jobs(): AsyncGenerator<Job> {
  yield { path: 'a' }
}

export async function map(): Promise<void> {
  const mapOptions: MapOptions = { inFlight: 4, ordered: false, signal: AbortSignal.timeout(5), timeout: 5, priority: 1 }
  const results: Results<Job, { rows: number; same: true }> = pool.map('resize', [{ path: 'a' }], mapOptions)
  for await (const { rows } of results) sure<Same<typeof rows, number>>()
  for await (const { rows } of pool.map('resize', jobs())) void rows
  for await (const each of pool.map('optional', [1, undefined])) sure<Same<typeof each, number>>()
  const all = await pool.map('resize', new Set<Job>()).toArray()
  sure<Same<typeof all, { rows: number; same: true }[]>>()
  // @ts-expect-error
  pool.map('risize', [])
  // @ts-expect-error
  pool.map('resize', ['a'])
  // @ts-expect-error
  pool.map('resize', { path: 'a' })
  // @ts-expect-error
  pool.map('resize', [], { key: 'a' })
  // @ts-expect-error
  pool.map('resize', [], { inflight: 5 })
}

export async function rest(): Promise<void> {
  const each = await pool.broadcast('none')
  sure<Same<typeof each, 'none'[]>>()
  // @ts-expect-error
  await pool.broadcast('resize')
  // @ts-expect-error
  await pool.broadcast('nope')
  await pool.ready
  await pool.room()
  const stats: PoolStats = pool.stats()
  const workers: readonly WorkerStats[] = stats.workers
  const latency: Times = stats.latency
  pool.stdout?.on('data', () => {})
  const close: CloseOptions = { drain: '5s', dispose: 5 }
  const closed: Closed = await pool.close(close)
  void [workers[0]?.threadId, latency.p99, closed.rescued, pool.stderr]
  // @ts-expect-error
  await pool.close({ drian: 5 })
}

export async function others(): Promise<void> {
  const plain = createPool<typeof import('./plain.worker.js')>('/plain.worker.js')
  const sum = await plain.run('add', [1, 2])
  sure<Same<typeof sum, number>>()
  const same: typeof plain = createPool<typeof definition>(url, { size: 2 })
  void same
  // @ts-expect-error
  await plain.run('add', [1, 'a'])
  const sync = createPool<typeof import('./sync.worker.js')>(url, { data: 5 })
  const next = await sync.run('next', 5)
  sure<Same<typeof next, number>>()
  const wide = await sync.run('wide', 5n)
  sure<Same<typeof wide, string | number>>()
  // @ts-expect-error
  createPool<typeof import('./sync.worker.js')>(url, { data: 'a' })
  const untyped = createPool(url, { data: 'whatever' })
  const whatever = await untyped.run('whatever', { a: 1 })
  sure<Same<typeof whatever, unknown>>()
  const any: Pool<Record<string, (input: unknown) => unknown>> = untyped
  void any
}

export function fails(error: unknown): string {
  if (error instanceof WorkerDiedError) {
    const started: boolean | 'unknown' = error.started
    const exit: Exit = error.exit
    return [started, exit.code, exit.signal].join()
  }
  const code: PoolErrorCode | undefined = error instanceof PoolError ? error.code : undefined
  // @ts-expect-error
  if (code === 'ERR_EXODOS_NOTHING') return ''
  return code ?? ''
}

const guard = guardWorker({ init: async ({ receipt }) => receipt.path('/tmp/a'), dispose: (record) => record.cancel() })
export const task = guard(async (record, input: number, more?: string) => [record.cancel, input, more].length)
sure<Same<typeof task, (input: number, more?: string) => Promise<number>>>()
// @ts-expect-error
void task('a')

export { data }
`,
  'using.ts': `
import { createPool } from '@exodos/pool'
export async function main(): Promise<number> {
  await using pool = createPool<typeof import('./plain.worker.js')>(new URL('./plain.worker.js', import.meta.url))
  return pool.run('add', [1, 2])
}
`,
}

const resolutions: Record<string, object> = {
  nodenext: { module: 'nodenext', moduleResolution: 'nodenext' },
  bundler: { module: 'esnext', moduleResolution: 'bundler' },
}
const strict = {
  strict: true,
  noEmit: true,
  skipLibCheck: false,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  target: 'es2022',
  types: ['node'],
}

let project: ReturnType<typeof makeProject>
beforeAll(() => {
  project = makeProject(files)
  const installed = join(project.dir, 'node_modules/@exodos/pool')
  mkdirSync(installed, { recursive: true })
  mkdirSync(join(project.dir, 'node_modules/@types'))
  cpSync(join(pool, 'dist'), join(installed, 'dist'), { recursive: true })
  writeFileSync(join(installed, 'package.json'), readFileSync(join(pool, 'package.json')))
  symlinkSync(realpathSync(join(dirname(typescript), '@types/node')), join(project.dir, 'node_modules/@types/node'))
})
afterAll(() => project.remove())

/** What the compiler has to say. */
function check(name: string, options: object): Promise<string> {
  const config = join(project.dir, `tsconfig.${name}.json`)
  writeFileSync(config, JSON.stringify({ compilerOptions: { ...strict, ...options }, files: ['consumer.ts', 'using.ts'] }))
  return new Promise((resolve) => {
    execFile(process.execPath, [tsc, '-p', config], { cwd: project.dir }, (error, stdout) =>
      resolve(stdout || (error?.message ?? '')),
    )
  })
}

describe('what is right compiles, and what is wrong doesn’t', () => {
  test.each(Object.entries(resolutions))('%s', { timeout: 60_000 }, async (name, resolution) => {
    expect(await check(name, { ...resolution, lib: ['es2022', 'esnext.disposable'] })).toBe('')
  })
})
