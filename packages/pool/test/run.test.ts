import { PoolError, WorkerDiedError } from '@exodos/pool'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type AnyPool, begun, engines, failureOf, makePool, mortal, warmUp } from './support/pools.js'

/** What a task throws, by its name in the fixture, and what its caller gets. */
const errors: [kind: string, props: Record<string, unknown>, type: unknown][] = [
  ['own', { name: 'PaymentError', message: 'no money', code: 'E_PAYMENT', amount: 3 }, Error],
  ['range', { name: 'RangeError', message: 'far', errno: -2, path: '/a' }, RangeError],
  ['nameless', { name: 'Error', message: 'psst' }, Error],
  ['aggregate', { name: 'AggregateError', message: 'both' }, AggregateError],
  ['dom', { name: 'TimeoutError', message: 'slow', code: 23 }, DOMException],
  ['circular', { name: 'Error', message: 'round' }, Error],
]

const thrown: [kind: string, value: unknown][] = [
  ['string', 'text'],
  ['undefined', undefined],
  ['object', { message: 'no error', at: 1 }],
  ['function', 'function thrower'],
  ['symbol', 'Symbol(mark)'],
]

describe.each(engines)('%s', (engine) => {
  let pool: AnyPool
  beforeAll(async () => {
    pool = makePool({ engine, size: 2 })
    await pool.ready
  })
  afterAll(() => pool.close({ drain: 0 }))

  test('a task gets its input, and its result comes back', async () => {
    const input = { text: 'ä', list: [1, undefined], map: new Map([[1, new Date(0)]]), big: 2n, view: new Uint8Array([1, 2]) }
    expect(await pool.run('echo', input)).toEqual(input)
    expect(await pool.run('echo')).toBe(undefined)
    expect(await pool.run('later', { value: null })).toBe(null)
  })

  test('a worker has one number, and shows it to init and to each task', async () => {
    const numbers = (await Promise.all(Array.from({ length: 20 }, () => pool.run('who')))) as number[][]
    for (const [ofTask, ofInit] of numbers) expect([1, 2]).toContain(ofTask === ofInit ? ofTask : -1)
  })

  test.each(errors)('an error comes back as it was: %s', async (kind, props, type) => {
    for (const task of ['fail', 'reject']) {
      const error = await failureOf(pool.run(task, kind))
      expect(error).toBeInstanceOf(type)
      expect(error).toMatchObject(props)
      expect(error.stack).toContain('tasks.mjs')
    }
  })

  test('causes and errors of an error come back, too', async () => {
    const { cause } = await failureOf(pool.run('fail', 'own'))
    expect(cause).toBeInstanceOf(TypeError)
    expect(cause).toMatchObject({ message: 'why', cause: 'because' })
    const { errors } = await failureOf(pool.run('fail', 'aggregate'))
    expect(errors).toEqual([expect.any(SyntaxError), 'two'])
    expect((await failureOf(pool.run('fail', 'circular'))).cause).toMatchObject({ message: 'round' })
  })

  test.each(thrown)('what is no error is thrown as it is, or in words: %s', async (kind, value) => {
    await pool.run('fail', kind).then(
      () => expect.unreachable(),
      (got) => expect(got).toEqual(value),
    )
  })

  test('a task, an input, a result and a progress that can not be sent fail alone', async () => {
    await warmUp(pool, 'echo')
    for (let at = 0; at < 50; at++) await failureOf(pool.run('uncloneable'))
    const all = Array.from({ length: 30 }, (_, at) => {
      if (at % 10 === 3) return pool.run('echo', () => {})
      return at % 10 === 7 ? pool.run('uncloneable') : pool.run('echo', at)
    })
    const settled = await Promise.allSettled(all)
    settled.forEach((result, at) => {
      if (at % 10 === 3 || at % 10 === 7) {
        const what = at % 10 === 3 ? 'the input of echo' : 'the result'
        expect(result).toMatchObject({ reason: { code: 'ERR_EXODOS_UNCLONEABLE', message: expect.stringContaining(what) } })
        expect((result as PromiseRejectedResult).reason.name).toBe('PoolError')
      } else expect(result).toMatchObject({ value: at })
    })
    expect((await failureOf(pool.run('badProgress'))).message).toContain('could not be cloned')
  })

  test('a result that refers to itself can be handed over beside one that can not be sent', async () => {
    await warmUp(pool, 'echo')
    for (let at = 0; at < 50; at++) await Promise.all([pool.run('circular', 1), failureOf(pool.run('uncloneable'))])
    const all = [pool.run('uncloneable'), ...Array.from({ length: 10 }, () => pool.run('circular', 5))]
    const [bad, ...good] = await Promise.allSettled(all)
    expect(bad).toMatchObject({ reason: { code: 'ERR_EXODOS_UNCLONEABLE' } })
    for (const each of good) expect(each).toMatchObject({ value: { buffer: { byteLength: 5 } } })
  })

  test.each(['nope', 'toString', '__proto__'])('an unknown task is told: %s', async (name) => {
    const error = await failureOf(pool.run(name))
    expect(error).toBeInstanceOf(TypeError)
    expect(error).toMatchObject({ code: 'ERR_EXODOS_INVALID_ARG', message: expect.stringContaining(`got "${name}"`) })
  })

  test('a worker does one task at a time', async () => {
    await using own = makePool({ engine })
    expect(await Promise.all(Array.from({ length: 20 }, () => own.run('one')))).toEqual(Array(20).fill(1))
  })

  test('higher priorities first, and else in order', async () => {
    await using own = makePool({ engine, timeout: { abort: 5000 } })
    const end = new AbortController()
    const { result } = await begun(own, 'held', { signal: end.signal })
    result.catch(() => {})
    const given = [0, 5, -1, 5, 0, 0.5, Number.POSITIVE_INFINITY]
    const all = given.map((priority, at) => own.run('note', at, { priority }))
    end.abort('enough')
    await Promise.all(all)
    expect(await own.run('notes')).toEqual(['enough', 6, 1, 3, 5, 0, 4, 2])
  })

  test('tasks of a key stay with a worker, in their order', async () => {
    await using own = makePool({ engine, size: 3 })
    await own.ready
    const keys = ['a', 'b', 'c', 1, 2, 3, '']
    const runs = Array.from({ length: 10 }, () => Promise.all(keys.map((key) => own.run('who', undefined, { key }))))
    const [first, ...rest] = await Promise.all(runs)
    for (const each of rest) expect(each).toEqual(first)
    await own.broadcast('notes')
    await Promise.all(Array.from({ length: 100 }, (_, at) => own.run('note', at, { key: 'x' })))
    const notes = (await own.broadcast('notes')) as number[][]
    expect(notes.flat()).toEqual(Array.from({ length: 100 }, (_, at) => at))
    expect(notes.filter((each) => each.length > 0)).toHaveLength(1)
  })

  test('progress comes in order, before the result, and never after it', async () => {
    const seen: unknown[] = []
    const result = await pool.run('progress', 50, { onProgress: (value) => seen.push(value) })
    expect(seen).toEqual(Array.from({ length: 50 }, (_, at) => at))
    expect(result).toBe(50)
    await pool.run('later', { ms: 5 })
    expect(seen).toHaveLength(50)
  })

  test('a signal asks a task to end, and rejects at once with its reason', async () => {
    const seen: unknown[] = []
    for (const reason of [new Error('why'), 'text', undefined]) {
      await using own = makePool({ engine, timeout: { abort: 10_000 } })
      const end = new AbortController()
      const { result } = await begun(own, 'held', { signal: end.signal })
      end.abort(reason)
      await result.catch((error) => expect(error).toBe(end.signal.reason))
      seen.push(await own.run('notes'), await own.run('who'))
      expect(own.stats().workers).toMatchObject([{ worker: 1, state: 'ready' }])
    }
    expect(seen).toEqual([['Error'], [1, 1], ['text'], [1, 1], ['AbortError'], [1, 1]])
  })

  test('a timeout does the same, from the start of the task', async () => {
    await using own = makePool({ engine, timeout: { abort: 10_000 } })
    await own.ready
    // What waits for longer than its time is not late.
    const [first, second] = [own.run('later', { ms: 300, value: 1 }), own.run('later', { ms: 1, value: 2 }, { timeout: 250 })]
    expect(await Promise.all([first, second])).toEqual([1, 2])
    const error = await failureOf(own.run('held', undefined, { timeout: '50ms' }))
    expect(error).toBeInstanceOf(PoolError)
    expect(error).toMatchObject({ code: 'ERR_EXODOS_TASK_TIMEOUT', message: expect.stringMatching(/^held .* 50 ms$/) })
    expect(await own.run('notes')).toEqual(['PoolError'])
  })

  test('what was aborted before it is begun is never begun', async () => {
    await using own = makePool({ engine, timeout: { abort: 10_000 } })
    const free = new AbortController()
    const { result } = await begun(own, 'held', { signal: free.signal })
    const end = new AbortController()
    const waiting = own.run('note', 'aborted in the queue', { signal: end.signal })
    const room = own.stats()
    end.abort('no more')
    await expect(waiting).rejects.toBe('no more')
    await expect(own.run('note', 'aborted before', { signal: end.signal })).rejects.toBe('no more')
    expect([room.queued, own.stats().queued]).toEqual([1, 0])
    free.abort('free')
    await failureOf(result.catch((error) => Promise.reject(new Error(error))))
    expect(await own.run('notes')).toEqual(['free'])
  })

  test('what is refused for bad input is never begun', async () => {
    await using own = makePool({ engine })
    await expect(own.run('note', 'bad', { priority: 'x' as never })).rejects.toThrow('options.priority')
    expect(await own.run('notes')).toEqual([])
  })

  test('no more than maxQueue wait, and room() tells when one can be taken', async () => {
    await using own = makePool({ engine, maxQueue: 2, timeout: { abort: 10_000 } })
    const end = new AbortController()
    const { result } = await begun(own, 'held', { signal: end.signal })
    result.catch(() => {})
    await own.room()
    const waiting = [own.run('echo', 1), own.run('echo', 2)]
    const full = await failureOf(own.run('echo', 3))
    expect(full).toMatchObject({ name: 'PoolError', code: 'ERR_EXODOS_QUEUE_FULL' })
    let isThere = false
    const room = own.room().then(() => {
      isThere = true
    })
    await new Promise((resolve) => setImmediate(resolve))
    expect(isThere).toBe(false)
    end.abort()
    await room
    expect(await own.run('echo', 4)).toBe(4)
    expect(await Promise.all(waiting)).toEqual([1, 2])
  })

  test('room() is told of a task that was aborted, and of the close', async () => {
    await using own = makePool({ engine, maxQueue: 1 })
    const { result } = await begun(own, 'held')
    result.catch(() => {})
    const end = new AbortController()
    const waiting = own.run('echo', 1, { signal: end.signal })
    waiting.catch(() => {})
    const room = own.room()
    end.abort()
    await room
    own.run('echo', 2).catch(() => {})
    await Promise.all([own.room(), own.close({ drain: 0 })])
  })

  test('maxQueue doesn’t count what workers with nothing to do can take', async () => {
    await using own = makePool({ engine, size: 2, maxQueue: 1 })
    await own.ready
    expect(await Promise.all([own.run('echo', 1), own.run('echo', 2)])).toEqual([1, 2])
  })

  test('closing refuses what comes, finishes what is there, and rejects what takes too long', async () => {
    await using own = makePool({ engine, timeout: { abort: 10_000, drain: 5000 } })
    const there = [own.run('later', { ms: 20, value: 1 }), own.run('echo', 2)]
    const closed = own.close()
    const late = await failureOf(own.run('echo', 3))
    expect(late).toMatchObject({ name: 'PoolError', code: 'ERR_EXODOS_POOL_CLOSED' })
    expect(await Promise.all(there)).toEqual([1, 2])
    expect(await closed).toEqual({ disposed: 1, rescued: 0, killed: 0, tasksDone: 2, tasksHandedOver: 0 })
    expect(await own.close()).toBe(await closed)

    await using other = makePool({ engine, timeout: { abort: 10_000 } })
    const { result } = await begun(other, 'held')
    const queued = other.run('echo', 1)
    const [stopped, kept, end] = await Promise.all([failureOf(result), failureOf(queued), other.close({ drain: '10ms' })])
    for (const error of [stopped, kept]) expect(error.code).toBe('ERR_EXODOS_POOL_CLOSED')
    expect(end).toMatchObject({ disposed: 1, killed: 0, tasksHandedOver: 1 })
  })
})

describe.each(mortal)('%s', (engine) => {
  test.each(['deaf', 'endless'])('a task that goes on when it is asked to end loses its worker: %s', async (task) => {
    await using own = makePool({ engine, timeout: { abort: 50, dispose: 1000 } })
    const end = new AbortController()
    const first = await begun(own, task, { signal: end.signal })
    const behind = own.run('who')
    end.abort('enough')
    await expect(first.result).rejects.toBe('enough')
    expect(await behind).toEqual([2, 2])
    const late = await failureOf(own.run(task, undefined, { timeout: 100 }))
    expect(late.code).toBe('ERR_EXODOS_TASK_TIMEOUT')
    expect(await own.run('who')).toEqual([3, 3])
  })

  test.each(['itself', 'revoked'])('whatever is thrown, the worker goes on: %s', async (kind) => {
    await using own = makePool({ engine })
    await own.run('fail', kind).catch(() => {})
    expect(await own.run('who')).toEqual([1, 1])
  })

  test('what a task’s code sends as a child process is none of the pool’s messages', async () => {
    await using own = makePool({ engine })
    for (const message of ['ready', { type: 'ready' }, [], [0], [0, 0, 1], [2, 'x'], [5, 'a', false, -1], 5, true]) {
      await own.run('send', message)
      expect(await own.run('who')).toEqual([1, 1])
    }
  })

  test('tasks of a key find the worker that stands in for theirs', async () => {
    await using own = makePool({ engine, size: 3 })
    await own.ready
    const keys = ['a', 'b', 'c', 'd', 'e', 'f']
    const who = () => Promise.all(keys.map(async (key) => (await own.run('who', undefined, { key })) as number[]))
    const before = await who()
    const died = await failureOf(own.run('exit', 3, { key: 'a' }))
    expect(died).toBeInstanceOf(WorkerDiedError)
    expect(died).toMatchObject({ code: 'ERR_EXODOS_WORKER_DIED', started: true, exit: { code: 3, signal: null } })
    const after = await who()
    const [[gone]] = before as [number[]]
    before.forEach(([worker], at) => {
      if (worker === gone) expect(after[at]).toEqual(after[0])
      else expect(after[at]?.[0]).toBe(worker)
    })
    expect(after[0]).toEqual([4, 4])
  })
})
