import { createPool } from '@exodos/pool'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyPool, engines, failureOf, fixture, makePool } from './support/pools.js'

const url = fixture('tasks.mjs')
const uncloneable = { f() {} }

/** Bad options of createPool, each with the argument that the message begins with. */
const bad: [argument: string, args: unknown[]][] = [
  ['createPool(url, options)', ['./relative.js']],
  ['createPool(url, options)', ['https://example.org/a.js']],
  ['createPool(url, options)', [undefined]],
  ['createPool(url, options)', [url, 5]],
  ['createPool(url, options)', [url, { sise: 3 }]],
  ['options.name', [url, { name: 5 }]],
  ['options.engine', [url, { engine: 'fibers' }]],
  ['options.size', [url, { size: 0 }]],
  ['options.size', [url, { size: 1.5 }]],
  ['options.size', [url, { size: Number.NaN }]],
  ['options.size', [url, { size: Number.POSITIVE_INFINITY }]],
  ['options.size', [url, { size: { max: 2 ** 40 } }]],
  ['options.size', [url, { size: { min: 3, max: 2 } }]],
  ['options.size', [url, { size: 'many' }]],
  ['options.size', [url, { size: { most: 2 } }]],
  ['options.size.min', [url, { size: { min: -1 } }]],
  ['options.size.max', [url, { size: { min: 0, max: 0 } }]],
  ['options.size.idleTimeout', [url, { size: { idleTimeout: 'soon' } }]],
  ['options.maxQueue', [url, { maxQueue: -1 }]],
  ['options.recycle', [url, { recycle: 5 }]],
  ['options.recycle', [url, { recycle: { bytes: 5 } }]],
  ['options.recycle.tasks', [url, { recycle: { tasks: 0 } }]],
  ['options.recycle.heapBytes', [url, { recycle: { heapBytes: '5' } }]],
  ['options.recycle.age', [url, { recycle: { age: '5 weeks' } }]],
  ['options.timeout', [url, { timeout: '5s' }]],
  ['options.timeout.drain', [url, { timeout: { drain: -1 } }]],
  ['options.timeout.dispose', [url, { timeout: { dispose: Number.NaN } }]],
  ['options.timeout.abort', [url, { timeout: { abort: {} } }]],
  ['options.onCrash', [url, { onCrash: 'panic' }]],
  ['options.env', [url, { env: 'A=1' }]],
  ['options.execArgv', [url, { execArgv: '--no-warnings' }]],
  ['options.execArgv', [url, { execArgv: [5] }]],
  ['options.resourceLimits', [url, { resourceLimits: 5 }]],
  ['options.resourceLimits', [url, { resourceLimits: { maxOldGenerationSizeMb: 'x' } }]],
  ['options.stdio', [url, { stdio: 'tty' }]],
]

/** Bad arguments of a pool's functions. */
const badCalls: [argument: string, call: (pool: AnyPool) => unknown][] = [
  ['run(task', (pool) => pool.run(5 as never)],
  ['options', (pool) => pool.run('echo', 1, 5 as never)],
  ['options', (pool) => pool.run('echo', 1, { prio: 1 } as never)],
  ['options.signal', (pool) => pool.run('echo', 1, { signal: {} as never })],
  ['options.timeout', (pool) => pool.run('echo', 1, { timeout: 'soon' })],
  ['options.priority', (pool) => pool.run('echo', 1, { priority: Number.NaN })],
  ['options.key', (pool) => pool.run('echo', 1, { key: {} as never })],
  ['options.transfer', (pool) => pool.run('echo', 1, { transfer: {} as never })],
  ['options.onProgress', (pool) => pool.run('echo', 1, { onProgress: 'log' as never })],
  ['broadcast(task', (pool) => pool.broadcast(5 as never)],
  ['options.timeout', (pool) => pool.broadcast('echo', 1, { timeout: -1 })],
  ['map(task', (pool) => pool.map(5 as never, [])],
  ['map(task, inputs)', (pool) => pool.map('echo', 5 as never)],
  ['map(task', (pool) => pool.map('echo', [], 5 as never)],
  ['map(task', (pool) => pool.map('echo', [], { inflight: 5 } as never)],
  ['options.inFlight', (pool) => pool.map('echo', [], { inFlight: 0 })],
  ['options.ordered', (pool) => pool.map('echo', [], { ordered: 'no' as never })],
  ['options.signal', (pool) => pool.map('echo', [1], { signal: {} as never })],
  ['options.priority', (pool) => pool.map('echo', [1], { priority: 'x' as never }).toArray()],
  ['close(', (pool) => pool.close(5 as never)],
  ['close(', (pool) => pool.close({ drian: 5 } as never)],
  ['options.drain', (pool) => pool.close({ drain: 'soon' })],
  ['options.dispose', (pool) => pool.close({ dispose: -1 })],
]

describe('bad input', () => {
  let pool: AnyPool
  beforeAll(() => {
    pool = makePool({ engine: 'inline' })
  })
  afterAll(() => pool.close({ drain: 0 }))

  const refusal = (argument: string) => ({
    name: 'TypeError',
    code: 'ERR_EXODOS_INVALID_ARG',
    message: expect.stringMatching(new RegExp(`^${argument.replace(/[()]/g, '\\$&')}.*: expected `)),
  })

  test.each(bad)('createPool names the argument: %s %#', async (argument, args) => {
    const made = (() => {
      try {
        return createPool(...(args as [string]))
      } catch (error) {
        return error as Error
      }
    })()
    if (!(made instanceof Error)) await made.close({ drain: 0 })
    expect(made).toMatchObject(refusal(argument))
  })

  test.each(badCalls)('a pool’s functions name the argument: %s %#', async (argument, call) => {
    const error = await failureOf((async () => call(pool))())
    expect(error).toMatchObject(refusal(argument))
  })

  test.each(engines)('data that can not be cloned, whether a worker is needed at once or not: %s', (engine) => {
    for (const min of [1, 0]) {
      const make = () => createPool(url, { engine, data: uncloneable, size: { min, max: 1 } })
      expect(make).toThrow(expect.objectContaining({ code: 'ERR_EXODOS_UNCLONEABLE' }))
    }
  })
})
