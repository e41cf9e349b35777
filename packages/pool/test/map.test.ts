import { createPool, type MapOptions } from '@exodos/pool'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { run } from '../../exodos/test/support/program.js'
import { type AnyPool, engines, failureOf, fixture, makePool } from './support/pools.js'

const range = (count: number) => Array.from({ length: count }, (_, at) => at)

/** An endless source that counts how often it was asked, and says whether it was told to stop. */
function source(isAsync: boolean, value: (at: number) => unknown = (at) => at) {
  const seen = { pulled: 0, returned: 0 }
  const next = () => ({ done: false, value: value(seen.pulled++) })
  const end = () => {
    seen.returned++
    return { done: true, value: undefined }
  }
  const inputs = isAsync
    ? { [Symbol.asyncIterator]: () => ({ next: async () => next(), return: async () => end() }) }
    : { [Symbol.iterator]: () => ({ next, return: end }) }
  return { inputs: inputs as unknown as Iterable<unknown>, seen }
}

async function* slowly(values: unknown[]) {
  for (const value of values) {
    await new Promise((resolve) => setImmediate(resolve))
    yield value
  }
}

const kinds: [kind: string, inputs: () => Iterable<unknown> | AsyncIterable<unknown>][] = [
  ['array', () => range(200)],
  ['set', () => new Set(range(200))],
  ['generator', () => range(200).values()],
  ['async generator', () => slowly(range(200))],
]

/** Tasks that never end are of no use here. */
const until = async (isTrue: () => boolean) => {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe.each(engines)('%s', (engine) => {
  let pool: AnyPool
  beforeAll(async () => {
    pool = makePool({ engine, size: 2 })
    await pool.ready
  })
  afterAll(() => pool.close({ drain: 0 }))

  test.each(kinds)('all inputs are mapped, in order, however many are in flight: %s', async (_, inputs) => {
    for (const inFlight of [1, 7, 64, 1000]) {
      expect(await pool.map('echo', inputs(), { inFlight }).toArray()).toEqual(range(200))
      const results = await pool.map('echo', inputs(), { inFlight, ordered: false }).toArray()
      expect(results.sort((a, b) => Number(a) - Number(b))).toEqual(range(200))
    }
    expect(await pool.map('echo', []).toArray()).toEqual([])
  })

  test('results as they come don’t wait for those before them', async () => {
    const inputs = [300, 0, 0, 0].map((ms, at) => ({ ms, value: at }))
    const unordered = await pool.map('later', inputs, { ordered: false }).toArray()
    expect(unordered.at(-1)).toBe(0)
    expect(await pool.map('later', inputs).toArray()).toEqual([0, 1, 2, 3])
  })

  test.each([false, true])(
    'no more inputs are taken than may be in flight, and a reader makes room (async: %s)',
    async (isAsync) => {
      const { inputs, seen } = source(isAsync)
      const results = pool.map('echo', inputs, { inFlight: 5 })
      await until(() => seen.pulled === 5)
      await pool.run('later', { ms: 20 })
      expect(seen.pulled).toBe(5)
      for (const at of range(10)) {
        expect(await results.next()).toEqual({ done: false, value: at })
        expect(seen.pulled).toBeLessThanOrEqual(at + 6)
      }
      await results.return()
      expect(seen.returned).toBe(1)
    },
  )

  test.each([false, true])('leaving early aborts what runs, and tells the source (async: %s)', async (isAsync) => {
    await using own = makePool({ engine, size: 2, timeout: { abort: 10_000 } })
    const { inputs, seen } = source(isAsync, (at) => at)
    const got: unknown[] = []
    for await (const result of own.map('echo', inputs, { inFlight: 3 })) {
      got.push(result)
      if (got.length === 5) break
    }
    expect(got).toEqual(range(5))
    await until(() => seen.returned === 1)
    const { pulled } = seen
    const held = own.map('held', source(isAsync).inputs, { inFlight: 2 })
    const next = held.next()
    await until(() => own.stats().running === 2)
    expect(await held.return()).toEqual({ done: true, value: undefined })
    expect(await next).toEqual({ done: true, value: undefined })
    expect(await held.next()).toEqual({ done: true, value: undefined })
    // They would be held for ever, and no worker is replaced.
    await until(() => own.stats().running === 0)
    expect(seen).toEqual({ pulled, returned: 1 })
    expect(own.stats().workers.map(({ worker }) => worker)).toEqual([1, 2])
  })

  test.each([false, true])(
    'a task that fails ends it: the results before it come, none after it (async: %s)',
    async (isAsync) => {
      const { inputs, seen } = source(isAsync, (at) => (at === 7 ? null : [at, 1]))
      const results = pool.map('add', inputs, { inFlight: 4 })
      const got: unknown[] = []
      const error = await failureOf(
        (async () => {
          for await (const result of results) got.push(result)
        })(),
      )
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toMatch(/iterable/)
      expect(got).toEqual([1, 2, 3, 4, 5, 6, 7])
      await until(() => seen.returned === 1)
      expect(await results.next()).toEqual({ done: true, value: undefined })
      expect(seen.pulled).toBeLessThan(20)
    },
  )

  test('a source that throws ends it, after the results of what came before', async () => {
    const sources = [
      function* () {
        yield* range(3)
        throw new RangeError('dry')
      },
      async function* () {
        yield* range(3)
        throw new RangeError('dry')
      },
    ]
    for (const inputs of sources) {
      const results = pool.map('echo', inputs())
      const settled = await Promise.allSettled(range(6).map(() => results.next()))
      const shown = settled.map((each) => (each.status === 'rejected' ? each.reason.message : (each.value.value ?? 'done')))
      expect(shown).toEqual([0, 1, 2, 'dry', 'done', 'done'])
    }
  })

  test('a source that throws when it is told to stop doesn’t hide what has gone wrong', async () => {
    const inputs = {
      [Symbol.iterator]: () => ({
        next: () => ({ done: false, value: null }),
        return: () => {
          throw new Error('return')
        },
      }),
    }
    const results = pool.map('add', inputs as Iterable<unknown>, { inFlight: 3 })
    const settled = await Promise.allSettled([results.next(), results.next(), results.next()])
    expect(settled).toMatchObject([{ reason: { name: 'TypeError' } }, { value: { done: true } }, { value: { done: true } }])
  })

  test('next() may be called again before it has resolved', async () => {
    for (const ordered of [true, false]) {
      const results = pool.map('echo', range(5), { ordered, inFlight: 2 })
      const all = await Promise.all(range(8).map(() => results.next()))
      const values = all.map(({ value }) => value)
      if (!ordered) values.sort()
      expect(values).toEqual([0, 1, 2, 3, 4, undefined, undefined, undefined])
      expect(all.map(({ done }) => done)).toEqual([false, false, false, false, false, true, true, true])
    }
  })

  test('a signal aborts all of it', async () => {
    const end = new AbortController()
    const { inputs, seen } = source(false)
    const results = pool.map('held', inputs, { inFlight: 3, signal: end.signal })
    const next = results.next()
    await until(() => seen.pulled === 3)
    end.abort('enough')
    await expect(next).rejects.toBe('enough')
    expect(seen.returned).toBe(1)
    const late = source(false)
    await expect(pool.map('echo', late.inputs, { signal: end.signal }).toArray()).rejects.toBe('enough')
    expect(late.seen.pulled).toBeLessThanOrEqual(64)
  })

  test('timeout is that of each task, and priority, too', async () => {
    const inputs = range(10).map(() => ({ ms: 30 }))
    expect(await pool.map('later', inputs, { timeout: 20_000, priority: 1, inFlight: 2 }).toArray()).toHaveLength(10)
    await using own = makePool({ engine, timeout: { abort: 10_000 } })
    const error = await failureOf(own.map('held', [1], { timeout: 20 }).toArray())
    expect(error.code).toBe('ERR_EXODOS_TASK_TIMEOUT')
  })

  test('maxQueue doesn’t limit it', async () => {
    await using own = makePool({ engine, maxQueue: 1 })
    expect(await own.map('echo', range(100)).toArray()).toEqual(range(100))
  })

  test('closing runs what is left, whether it is read or not', async () => {
    await using own = makePool({ engine, timeout: { drain: 20_000 } })
    const [first, second] = [own.map('echo', range(300), { inFlight: 4 }), own.map('note', slowly(range(300)))]
    expect(await first.next()).toEqual({ done: false, value: 0 })
    expect(await own.close()).toMatchObject({ tasksDone: 600, tasksHandedOver: 0 })
    expect(await first.toArray()).toEqual(range(300).slice(1))
    expect(await second.toArray()).toHaveLength(300)
  })

  test('after the close it rejects', async () => {
    const own = makePool({ engine })
    await own.close()
    expect((await failureOf(own.map('echo', [1]).next())).code).toBe('ERR_EXODOS_POOL_CLOSED')
  })
})

/** Each is a program, as it could keep this one from going on. */
const programs: [claim: string, body: string, lines: string[]][] = [
  [
    'closing ends an endless map when its time is over',
    `const results = pool.map('add', endless(), { inFlight: 5 })
    await results.next()
    await pool.close({ drain: 50 })
    let error
    for (let count = 0; !error; count++) await results.next().catch((each) => { error = each })
    console.log(error.code)`,
    ['ERR_EXODOS_POOL_CLOSED'],
  ],
  [
    'an endless map of a pool that is closed',
    `await pool.close()
    console.log((await pool.map('add', endless()).next().catch((error) => error)).code)`,
    ['ERR_EXODOS_POOL_CLOSED'],
  ],
  [
    'an endless map of a pool whose workers can not start',
    `const broken = createPool(file, { size: 1, env: { BROKEN: '1' } })
    console.log((await broken.map('add', endless()).next().catch((error) => error)).code)
    await broken.close()`,
    ['ERR_EXODOS_WORKER_INIT'],
  ],
  [
    'a map that nobody reads any more doesn’t hold up the end of the program',
    `const results = pool.map('add', Array.from({ length: 1000 }, () => [1, 2]))
    console.log((await results.next()).value)`,
    ['3'],
  ],
  [
    'a map of more than ten in flight warns of nothing',
    `console.log((await pool.map('add', Array.from({ length: 1000 }, () => [1, 2])).toArray()).length)
    const { signal } = new AbortController()
    console.log((await pool.map('add', Array.from({ length: 100 }, () => [1, 2]), { signal }).toArray()).length)`,
    ['1000', '100'],
  ],
]

test.concurrent.each(programs)('%s', async (_, body, lines) => {
  const {
    code,
    stderr,
    lines: printed,
  } = await run(`
    import { createPool } from '@exodos/pool'
    const file = new URL('${fixture('tasks.mjs')}')
    const pool = createPool(file, { size: 1 })
    function* endless() { for (;;) yield [1, 2] }
    ${body}
  `)
  expect({ code, stderr, printed }).toEqual({ code: 0, stderr: '', printed: lines })
})

test('a map begins at once', async () => {
  await using pool = createPool(fixture('tasks.mjs'), { engine: 'inline' })
  const { inputs, seen } = source(false)
  const options: MapOptions = { inFlight: 3 }
  const results = pool.map('echo', inputs, options)
  await until(() => seen.pulled === 3)
  await results.return()
})
