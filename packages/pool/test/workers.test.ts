import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { type AnyPool, begun, engines, failureOf, makePool, mortal } from './support/pools.js'

const dir = mkdtempSync(join(tmpdir(), 'exodos-workers-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const range = (count: number) => Array.from({ length: count }, (_, at) => at)
const until = async (isTrue: () => boolean | Promise<boolean>) => {
  while (!(await isTrue())) await new Promise((resolve) => setTimeout(resolve, 5))
}
const numbers = (pool: AnyPool) => pool.stats().workers.map(({ worker }) => worker)
const who = async (pool: AnyPool) => ((await pool.run('who')) as number[])[0]

/** Files that are no workers, and why, as the cause says. */
const unfit: [file: string, cause: Record<string, unknown>][] = [
  ['throws.mjs', { name: 'RangeError', message: 'not today', code: 'E_IMPORT' }],
  ['imports-nothing.mjs', { code: 'ERR_MODULE_NOT_FOUND' }],
  ['there-is-no-such-file.mjs', { code: 'ERR_MODULE_NOT_FOUND' }],
  ['no-default.mjs', { name: 'TypeError', message: expect.stringContaining('what defineWorker has returned') }],
  ['wrong-default.mjs', { name: 'TypeError', message: expect.stringContaining('wrong-default.mjs: expected') }],
]

describe.each(engines)('%s', (engine) => {
  test('size: min are there when it is ready, max when there is much to do, and min again', async () => {
    await using pool = makePool({ engine, size: { min: 1, max: 3, idleTimeout: 50 } })
    await pool.ready
    expect(numbers(pool)).toEqual([1])
    await Promise.all(range(3).map(() => pool.run('later', { ms: 100 })))
    await until(() => numbers(pool).length === 1)
    expect(await pool.run('echo', 1)).toBe(1)
    expect(await pool.close()).toMatchObject({ disposed: 3, killed: 0, tasksDone: 4 })
  })

  test('size: with min 0 there is none until one is needed', async () => {
    await using pool = makePool({ engine, size: { min: 0, max: 2, idleTimeout: 30 } })
    await pool.ready
    expect(numbers(pool)).toEqual([])
    expect(await pool.broadcast('who')).toEqual([])
    expect(await who(pool)).toBe(1)
    await until(() => numbers(pool).length === 0)
    expect(await who(pool)).toBe(2)
  })

  test('recycle: after exactly so many tasks, in turn or at once', async () => {
    await using pool = makePool({ engine, recycle: { tasks: 3 } })
    const inTurn: unknown[] = []
    for (const _ of range(7)) inTurn.push(await who(pool))
    expect(inTurn).toEqual([1, 1, 1, 2, 2, 2, 3])
    await using other = makePool({ engine, size: 2, recycle: { tasks: 4 } })
    const counts = new Map<number | undefined, number>()
    for (const worker of await Promise.all(range(24).map(() => who(other)))) counts.set(worker, (counts.get(worker) ?? 0) + 1)
    for (const [worker, count] of counts) expect({ worker, most: Math.max(count, 4) }).toEqual({ worker, most: 4 })
  })

  test('recycle: a worker above its heap has gone before the next task, one that is too old as soon as it has nothing to do', async () => {
    await using pool = makePool({ engine, recycle: { heapBytes: 1 } })
    await who(pool)
    await until(() => (pool.stats().workers[0]?.worker ?? 0) > 1)
    expect(await who(pool)).toBeGreaterThan(1)
    await using other = makePool({ engine, recycle: { age: 30 } })
    expect(await other.run('later', { ms: 60, value: 'kept' })).toBe('kept')
    await until(async () => ((await who(other)) ?? 0) > 1)
  })

  test('stats', async () => {
    await using pool = makePool({ engine, size: 2, timeout: { abort: 10_000 } })
    await pool.ready
    const before = pool.stats()
    expect(before).toMatchObject({ queued: 0, running: 0, done: 0, failed: 0, rerun: 0, latency: { count: 0, mean: 0, max: 0 } })
    expect(before.workers.map(({ state, running, done }) => [state, running, done])).toEqual(Array(2).fill(['ready', 0, 0]))
    for (const { pid, threadId } of before.workers)
      expect([typeof pid, typeof threadId]).toEqual([
        engine === 'processes' ? 'number' : 'undefined',
        engine === 'threads' ? 'number' : 'undefined',
      ])
    await Promise.all([...range(8).map(() => pool.run('later', { ms: 10 })), failureOf(pool.run('fail', 'own'))])
    const { latency, runTime, ...after } = pool.stats()
    expect(after).toMatchObject({ queued: 0, running: 0, done: 8, failed: 1 })
    expect(after.workers.reduce((sum, { done }) => sum + done, 0)).toBe(9)
    for (const times of [latency, runTime]) {
      expect(times.count).toBe(9)
      expect(times.p50).toBeGreaterThan(5)
      expect(times.p99).toBeGreaterThanOrEqual(times.p50)
      expect(times.max).toBeGreaterThanOrEqual(times.mean)
    }
    expect(latency.max).toBeGreaterThanOrEqual(runTime.p50)
    const ends = range(2).map(() => new AbortController())
    const held = await Promise.all(ends.map(({ signal }) => begun(pool, 'held', { signal })))
    const waiting = range(3).map((at) => pool.run('echo', at))
    await null
    expect(pool.stats()).toMatchObject({ queued: 3, running: 2 })
    for (const end of ends) end.abort()
    await Promise.all([...held.map(({ result }) => failureOf(result)), ...waiting])
  })

  test('broadcast runs once in each worker, and rejects when one fails', async () => {
    await using pool = makePool({ engine, size: 3 })
    const early = (await pool.broadcast('who')) as number[][]
    expect(early.map(([worker]) => worker)).toEqual([1, 2, 3])
    expect(await failureOf(pool.broadcast('fail', 'own'))).toMatchObject({ name: 'PaymentError' })
    await pool.close()
    expect(await failureOf(pool.broadcast('who'))).toMatchObject({ code: 'ERR_EXODOS_POOL_CLOSED' })
  })

  test('data reach init, a copy of them', async () => {
    const data = { map: new Map([['a', 1n]]), when: new Date(5) }
    await using pool = makePool({ engine, data })
    data.map.set('b', 2n)
    const seen = (await pool.run('data')) as typeof data
    expect(seen.when).toEqual(data.when)
    expect(seen.map.get('a')).toBe(1n)
  })

  test.each(unfit)('a file that is no worker is told: %s', async (file, cause) => {
    await using pool = makePool({ engine, stdio: 'ignore' }, file)
    const [ready, ran] = await Promise.all([failureOf(pool.ready), failureOf(pool.run('echo'))])
    for (const error of [ready, ran, await failureOf(pool.run('echo'))]) {
      expect(error).toMatchObject({ name: 'PoolError', code: 'ERR_EXODOS_WORKER_INIT', message: expect.stringContaining(file) })
      expect(error.cause).toMatchObject(cause)
    }
    expect(numbers(pool)).toEqual([])
    expect(await pool.close()).toEqual({ disposed: 0, rescued: 0, killed: 0, tasksDone: 0, tasksHandedOver: 0 })
  })

  test('an init that fails before the pool is ready: all is told, nothing is started any more', async () => {
    process.env.BROKEN = engine === 'inline' ? '1' : ''
    await using pool = makePool({ engine, size: 2, env: { ...process.env, BROKEN: '1' } })
    const errors = await Promise.all([
      failureOf(pool.ready),
      failureOf(pool.run('who')),
      failureOf(pool.map('who', [1]).toArray()),
    ])
    process.env.BROKEN = ''
    for (const error of errors)
      expect(error).toMatchObject({
        code: 'ERR_EXODOS_WORKER_INIT',
        cause: { name: 'TypeError', message: 'broken', cause: 'by the environment' },
      })
    await until(() => numbers(pool).length === 0)
    expect(await failureOf(pool.run('who'))).toMatchObject({ code: 'ERR_EXODOS_WORKER_INIT' })
  })

  test('an init that fails later is tried again, ever more slowly, and meanwhile tasks are told', async () => {
    const [starts, failsWhile] = [join(dir, `${engine}-starts`), join(dir, `${engine}-fails`)]
    await using pool = makePool({ engine, recycle: { tasks: 1 }, data: { starts, failsWhile } })
    await pool.ready
    writeFileSync(failsWhile, '')
    expect(await who(pool)).toBe(1)
    const count = () => readFileSync(starts, 'utf8').trim().split('\n').map(Number)
    await until(() => count().length >= 2)
    const error = await failureOf(pool.run('who'))
    expect(error).toMatchObject({ code: 'ERR_EXODOS_WORKER_INIT', cause: { message: expect.stringContaining('is broken') } })
    await until(() => count().length >= 4)
    rmSync(failsWhile)
    await until(() =>
      who(pool).then(
        () => true,
        () => false,
      ),
    )
    const [, second = 0, third = 0, fourth = 0] = count()
    expect(third - second).toBeGreaterThanOrEqual(95)
    expect(fourth - third).toBeGreaterThanOrEqual(190)
  })

  test('two pools of one file know nothing of each other', async () => {
    await using one = makePool({ engine, data: 1 })
    const two = makePool({ engine, data: 2 })
    expect(await Promise.all([one.run('data'), two.run('data')])).toEqual([1, 2])
    await two.close()
    expect(await one.run('data')).toBe(1)
  })
})

describe.each(mortal)('%s', (engine) => {
  test('env, execArgv and resourceLimits are those of the workers', async () => {
    const limits = { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 24, stackSizeMb: 2 }
    await using pool = makePool({ engine, env: { ONLY: 'this' }, execArgv: ['--no-warnings'], resourceLimits: limits })
    expect(await Promise.all([pool.run('env', 'ONLY'), pool.run('env', 'PATH')])).toEqual(['this', undefined])
    const options = (await pool.run('options')) as { execArgv: string[]; limits: object }
    expect(options.execArgv).toContain('--no-warnings')
    if (engine === 'threads') expect(options.limits).toMatchObject(limits)
    else expect(options.execArgv).toEqual(expect.arrayContaining(['--max-old-space-size=64', '--stack-size=2000']))
    await using plain = makePool({ engine })
    expect(await plain.run('env', 'PATH')).toBe(process.env.PATH)
  })

  test('stdio: what is piped can be read, and ends when the pool is closed', async () => {
    const pool = makePool({ engine, size: 2, stdio: 'pipe' })
    const texts = [pool.stdout, pool.stderr].map(async (stream) => {
      let text = ''
      for await (const chunk of stream ?? []) text += chunk
      return text
    })
    await pool.ready
    await pool.broadcast('print', { out: 'to stdout\n', err: 'to stderr\n' })
    await pool.run('print', { out: 'x'.repeat(200_000) })
    await pool.close()
    const [out = '', err] = await Promise.all(texts)
    expect([out.length, err]).toEqual([200_020, 'to stderr\n'.repeat(2)])
  })

  test('a file that never loads: the pool can be closed', async () => {
    const pool = makePool({ engine, timeout: { dispose: 50 } }, 'never-loads.mjs')
    const ran = failureOf(pool.run('echo'))
    expect(await pool.close({ drain: 20 })).toMatchObject({ disposed: 0, tasksHandedOver: 1 })
    expect(await failureOf(pool.ready)).toMatchObject({ code: 'ERR_EXODOS_POOL_CLOSED' })
    expect((await ran).code).toBe('ERR_EXODOS_POOL_CLOSED')
  })
})
