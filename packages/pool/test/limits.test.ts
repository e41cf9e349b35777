import { describe, expect, test } from 'vitest'
import { run } from '../../exodos/test/support/program.js'

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
