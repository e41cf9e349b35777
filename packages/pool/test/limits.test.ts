import { describe, expect, test } from 'vitest'
import { run } from '../../exodos/test/support/program.js'
import { isAlive } from '../../exodos/test/support/supervise.js'

/** Programs that say what became of a pool whose workers are of no use. */
const worker = (body: string) => `import { defineWorker } from '@exodos/pool/worker'\nexport default defineWorker({ ${body} })`

function program(engine: string, workers: string, body: string) {
  return run(
    `import { writeFileSync } from 'node:fs'
    import { createPool } from '@exodos/pool'
    writeFileSync('worker.mjs', ${JSON.stringify(worker(workers))})
    const url = new URL('worker.mjs', import.meta.url)
    const engine = '${engine}'
    const told = (promise) => promise.then((value) => ['ok', value], ({ code, started }) => [code, started ?? null])
    const say = (value) => console.log(JSON.stringify(value))
    process.on('warning', ({ code }) => say(code))
    ${body}`,
    { timeout: 60_000 },
  )
}

describe.each(['threads', 'processes'])('%s', (engine) => {
  test('init that takes longer than timeout.init has failed', async () => {
    const { lines } = await program(
      engine,
      'init: () => new Promise(() => {}), tasks: { a: () => 1 }',
      `const pool = createPool(url, { engine, size: 1, timeout: { init: 200, dispose: 500 } })
      say(await told(pool.run('a')))
      say(await told(pool.ready))
      await pool.close()`,
    )
    expect(lines).toEqual(Array(2).fill('["ERR_EXODOS_WORKER_INIT",null]'))
  })

  test('a pool that closes says of each task whether it had been started', async () => {
    const { lines } = await program(
      engine,
      `tasks: { wait: (_, { progress }) => new Promise(() => progress('begun')), a: () => 1 }`,
      `const pool = createPool(url, { engine, size: 1, timeout: { dispose: 1000 } })
      let begun
      const hasBegun = new Promise((resolve) => { begun = resolve })
      const all = [told(pool.run('wait', 0, { onProgress: begun })), told(pool.run('a'))]
      await hasBegun
      await pool.close({ drain: 0 })
      say(await Promise.all(all))`,
    )
    expect(lines).toEqual(['[["ERR_EXODOS_POOL_CLOSED",true],["ERR_EXODOS_POOL_CLOSED",false]]'])
  })

  test('what an exit waits for is named: the task, and where it runs', async () => {
    const { stderr } = await program(
      engine,
      `tasks: { stay: (_, { progress }) => new Promise(() => progress('begun')) }`,
      `const { configure } = await import('exodos')
      configure({ grace: 1500 })
      const pool = createPool(url, { engine, size: 1, name: 'stayers', timeout: { dispose: 300 } })
      await new Promise((resolve) => void told(pool.run('stay', 0, { onProgress: resolve })))
      process.exit(0)`,
    )
    expect(stderr).toMatch(/stayers: tasks.*1 running \(stay in (thread|process) \d+\), 0 queued/)
  })

  test('a worker that dies with nothing to do is replaced, and a warning says so', async () => {
    const { lines } = await program(
      engine,
      `tasks: { die: () => void setTimeout(() => { throw new Error('later') }, 20), who: (_, { worker }) => worker }`,
      `const pool = createPool(url, { engine, size: 1, stdio: 'ignore' })
      const warned = new Promise((resolve) => process.once('warning', resolve))
      // A pool with nothing to do doesn't keep the program running.
      const held = setInterval(() => {}, 60_000)
      await pool.run('die')
      await warned
      say(await told(pool.run('who')))
      clearInterval(held)
      await pool.close()`,
    )
    expect(lines).toEqual(['"EXODOS_WORKER_DIED"', '["ok",2]'])
  })
})

test.each(['threads', 'processes'])(
  '%s: tasks of a key keep their order, though some come while others are taken back',
  async (engine) => {
    const { lines } = await program(
      engine,
      `init: () => [], tasks: {
      later: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
      note: (n, { resource }) => void resource.push(n),
      notes: (_, { resource }) => resource.splice(0),
    }`,
      `const { setImmediate: turn } = await import('node:timers/promises')
    const pool = createPool(url, { engine, size: 2 })
    await pool.ready
    for (let time = 0; time < 10; time++) {
      // They are known to be quick, and one turns out not to be.
      for (let n = 0; n < 20; n++) await Promise.all([pool.run('later', 0), pool.run('note', 0)])
      await pool.broadcast('notes')
      const all = [pool.run('later', 40, { key: 'k' })]
      let count = 0
      for (const end = performance.now() + 40; performance.now() < end; ) {
        all.push(pool.run('note', count++, { key: 'k' }))
        for (let n = 0; n < 200; n++) await turn()
      }
      await Promise.all(all)
      const notes = (await pool.broadcast('notes')).flat()
      say(notes.length === count && notes.every((note, at) => note === at))
    }
    await pool.close()`,
    )
    expect(lines).toEqual(Array(10).fill('true'))
  },
)

describe.each(['threads', 'processes', 'inline'])('%s: tasks that go together', (engine) => {
  /** A pool of one worker, whose tasks are known to be quick. */
  const quick = (task: string) => `const pool = createPool(url, { engine, size: 1 })
    await pool.ready
    const warm = async () => { for (let n = 0; n < 5; n++) await Promise.all(Array.from({ length: 100 }, () => pool.run('${task}', 1))) }
    await warm()`

  test('a worker may change what it has returned, and a caller what it has got', async () => {
    const { lines } = await program(
      engine,
      `init: () => ({ flat: { n: 0 }, deep: { in: { n: 0 } }, bytes: new Uint8Array(1) }),
      tasks: {
        flat: (_, { resource: { flat } }) => (flat.n++, flat),
        deep: (_, { resource: { deep } }) => (deep.in.n++, deep),
        bytes: (_, { resource: { bytes } }) => (bytes[0]++, bytes),
      }`,
      `const pool = createPool(url, { engine, size: 1 })
      for (const task of ['flat', 'deep', 'bytes']) {
        for (let n = 0; n < 100; n++) await pool.run(task)
        const results = await Promise.all(Array.from({ length: 10 }, () => pool.run(task)))
        const numbers = results.map((each) => each.n ?? each.in?.n ?? each[0])
        say([numbers.every((n, at) => n === numbers[0] + at), new Set(results).size])
      }
      await pool.close()`,
    )
    expect(lines).toEqual(Array(3).fill('[true,10]'))
  })

  test('a task may change its input: another one with the same input does not see it', async () => {
    const { lines } = await program(
      engine,
      `tasks: {
        change: (each) => typeof each === 'object' ? [each.n++, each.in ? each.in.n++ : 0] : [],
        push: (list) => Array.isArray(list) ? list.push(1) : 0,
      }`,
      `${quick('change')}
      const all = (task, input) => Promise.all(Array.from({ length: 10 }, () => pool.run(task, input)))
      for (const input of [{ n: 0 }, { n: 0, in: { n: 0 } }]) say(new Set((await all('change', input)).map(String)).size)
      await all('push', 1)
      say(new Set(await all('push', [])).size)
      await pool.close()`,
    )
    expect(lines).toEqual(['1', '1', '1'])
  })

  test('one that cannot be cloned, beside others, is refused alone', async () => {
    const { lines, code } = await program(
      engine,
      `tasks: { mixed: (kind, { transfer }) => {
        const bytes = new Uint8Array(8)
        if (kind === 'bytes') transfer(bytes.buffer)
        const deep = () => { let o = {}; for (let n = 0; n < 1e5; n++) o = { o }; return o }
        return { bytes, getter: { get a() { throw new Error('no') } }, function: () => {}, proxy: new Proxy({}, {}) }[kind] ?? (kind === 'deep' ? deep() : kind)
      } }`,
      `${quick('mixed')}
      for (const kind of ['getter', 'function', 'proxy', 'deep']) {
        const all = await Promise.all([1, 'bytes', 2, kind, 3, 'bytes', 4].map((each) => told(pool.run('mixed', each))))
        say(all.map(([how, value]) => how === 'ok' ? value.length ?? value : how))
      }
      await pool.close()`,
    )
    expect({ code, lines: lines.length }).toEqual({ code: 0, lines: 4 })
    for (const line of lines) {
      const [one, bytes, two, bad, ...rest] = JSON.parse(line)
      expect([one, bytes, two, ...rest]).toEqual([1, 8, 2, 3, 8, 4])
      // What Node 22 and later do with a proxy that has no traps, and how deep they look, is theirs.
      expect(['ERR_EXODOS_UNCLONEABLE', 'object']).toContain(typeof bad === 'object' ? 'object' : bad)
    }
  })

  test('a task is aborted by a getter of an input that goes with it', async () => {
    const { lines } = await program(
      engine,
      'tasks: { id: (each) => each }',
      `${quick('id')}
      const end = new AbortController()
      const evil = { get a() { end.abort(new Error('mine')); return 1 } }
      const all = [pool.run('id', 1), pool.run('id', evil), pool.run('id', 2, { signal: end.signal })]
      say((await Promise.allSettled(all)).map(({ status }) => status))
      say(await pool.run('id', 7))
      const { queued, running, done, failed } = pool.stats()
      say([queued, running, done, failed])
      await pool.close()`,
    )
    expect(lines).toEqual(['["fulfilled","fulfilled","rejected"]', '7', '[0,0,503,1]'])
  })
})

test.each(['threads', 'processes'])('%s: a worker that is due, and has given its tasks back, is replaced', async (engine) => {
  const { lines } = await program(
    engine,
    `tasks: {
      id: (each) => each,
      block: (ms) => void setTimeout(() => { for (const end = performance.now() + ms; performance.now() < end; ); }, 5),
    }`,
    `const pool = createPool(url, { engine, size: 1, recycle: { age: 700 } })
    await pool.ready
    for (let n = 0; n < 3; n++) await Promise.all(Array.from({ length: 100 }, () => pool.run('id', 1)))
    await pool.run('block', 900)
    await new Promise((resolve) => setTimeout(resolve, 50))
    const end = new AbortController()
    const [a, b] = [pool.run('id', 'a'), told(pool.run('id', 'b', { signal: end.signal }))]
    // When it is due, and still blocked.
    setTimeout(() => end.abort(), 750)
    say([await a, (await b)[0] !== 'ok'])
    await pool.close()`,
  )
  expect(lines).toEqual(['["a",true]'])
})

test('tasks for a process that has left meanwhile by SIGTERM are run by the next one', async () => {
  const { lines } = await program(
    'processes',
    'tasks: { id: (each) => each }',
    `const pool = createPool(url, { engine, size: 1 })
    for (let n = 0; n < 100; n++) await pool.run('id', n)
    process.kill(pool.stats().workers[0].pid, 'SIGTERM')
    // Nothing is heard of that.
    for (const end = performance.now() + 500; performance.now() < end; );
    say(await Promise.all([1, 2, 3].map((each) => pool.run('id', each))))
    await pool.close()`,
  )
  expect(lines.at(-1)).toBe('[1,2,3]')
})

test('what is done is told before a task begins that may take long', async () => {
  const { lines } = await program(
    'threads',
    `tasks: { wait: (ms) => { for (const end = performance.now() + ms; performance.now() < end; ); } }`,
    `const pool = createPool(url, { engine, size: 1 })
    await pool.run('wait', 20)
    for (let n = 0; n < 200; n++) await pool.run('wait', 0)
    const slow = pool.run('wait', 1500).then(() => 'slow')
    const quick = Promise.all([pool.run('wait', 0), pool.run('wait', 0)])
    // Together with it, but before it.
    const together = [0, 0, 1500, 0].map((ms) => pool.run('wait', ms).then(() => performance.now()))
    await slow
    const [first, second, third] = await Promise.all(together)
    say([third - first > 1000, third - second > 1000])
    await quick
    await pool.close()`,
  )
  expect(lines).toEqual(['[true,true]'])
})

test('a process whose task never returns does not outlive the program', async () => {
  const { lines, code } = await program(
    'processes',
    `tasks: { spin: (_, { progress }) => { progress('begun'); for (;;); } }`,
    `const { onExit, configure } = await import('exodos')
    configure({ grace: 3000 })
    onExit(() => {})
    const pool = createPool(url, { engine, size: 1 })
    await new Promise((resolve) => void told(pool.run('spin', 0, { onProgress: resolve })))
    say(pool.stats().workers[0].pid)
    process.exit(3)`,
  )
  expect(code).toBe(3)
  expect(isAlive(Number(lines[0]))).toBe(false)
})

test('what nobody has handled in a worker is the cause, also of a process', async () => {
  for (const engine of ['threads', 'processes']) {
    const { lines } = await program(
      engine,
      `tasks: { die: () => new Promise(() => setTimeout(() => { throw new RangeError('later') }, 10)) }`,
      `const pool = createPool(url, { engine, size: 1, stdio: 'ignore' })
      const error = await pool.run('die').catch((error) => error)
      say([error.code, error.cause?.name, error.cause?.message])
      await pool.close()`,
    )
    expect(lines).toEqual(['["ERR_EXODOS_WORKER_DIED","RangeError","later"]'])
  }
})

test('a task that threads die of as they read it is given to three of them, no more', async () => {
  const { lines } = await program(
    'threads',
    'tasks: { length: (text) => text.length }',
    `const pool = createPool(url, { engine, size: 1, resourceLimits: { maxOldGenerationSizeMb: 24 }, stdio: 'ignore' })
    say(await told(pool.run('length', Array.from({ length: 3_000_000 }, (_, at) => 'text ' + at))))
    say(pool.stats().workers.length <= 1)
    await pool.close({ drain: 0 })`,
  )
  expect(lines.filter((line) => line !== '"EXODOS_WORKER_DIED"')).toEqual(['["ERR_EXODOS_WORKER_DIED",false]', 'true'])
})
