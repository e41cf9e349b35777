import { describe, expect, test } from 'vitest'
import { engines, makePool, mortal, warmUp } from './support/pools.js'

describe.each(engines)('%s', (engine) => {
  test.each(['later', 'spin'])('aborting a task that waits in its worker spares the one before it: %s', async (task) => {
    if (engine === 'inline' && task === 'spin') return
    await using own = makePool({ engine, timeout: { abort: 50, drain: 5000 } })
    await warmUp(own, task)
    const end = new AbortController()
    const slow = own.run(task, { ms: 1000, value: 'done' })
    const quick = own.run(task, {}, { signal: end.signal })
    setTimeout(() => end.abort('enough'), 20)
    await expect(quick).rejects.toBe('enough')
    expect(await slow).toBe('done')
  })
})

describe.each(mortal)('%s', (engine) => {
  test.each(engine === 'threads' ? ['later', 'spin'] : ['later'])(
    'a slow task holds up none of those sent with it: %s',
    async (task) => {
      await using own = makePool({ engine, size: 2, timeout: { drain: 10_000 } })
      await own.ready
      await Promise.all([warmUp(own, task), warmUp(own, task)])
      const ended: number[] = []
      const all = Array.from({ length: 50 }, async (_, at) => {
        await own.run(task, at === 0 ? { ms: 3000 } : {})
        ended.push(at)
      })
      await Promise.all(all)
      expect(ended.at(-1)).toBe(0)
    },
  )

  test('the tasks of a key keep their order when they are taken back from a slow worker', async () => {
    await using own = makePool({ engine, size: 2, timeout: { drain: 10_000 } })
    await own.ready
    await Promise.all([warmUp(own, 'later'), warmUp(own, 'note')])
    await own.broadcast('notes')
    const all: Promise<unknown>[] = []
    let at = 0
    for (let round = 0; round < 5; round++) {
      all.push(own.run('later', { ms: 40 }, { key: 'k' }))
      for (const end = performance.now() + 40; performance.now() < end; ) {
        all.push(own.run('note', at++, { key: 'k' }))
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    await Promise.all(all)
    const notes = ((await own.broadcast('notes')) as number[][]).flat()
    expect(notes).toEqual(Array.from({ length: at }, (_, each) => each))
  })
})

describe('transfer', () => {
  test.each(engines)('%s: what is handed over arrives, and is gone where it was', async (engine) => {
    await using own = makePool({ engine })
    const buffer = new ArrayBuffer(1000)
    expect(await own.run('size', { buffer }, { transfer: [buffer] })).toBe(1000)
    expect(buffer.byteLength).toBe(engine === 'processes' ? 1000 : 0)
    const { sent } = (await own.run('handOver', 50)) as { sent: Uint8Array }
    expect(sent).toEqual(new Uint8Array(50).fill(7))
    expect(await own.run('sentSize')).toBe(engine === 'processes' ? 50 : 0)
  })

  test('a port', async () => {
    await using own = makePool()
    const { port1, port2 } = new MessageChannel()
    const back = (await own.run('echo', port1, { transfer: [port1] }).catch((error) => error)) as Error
    // `echo` doesn't hand it over.
    expect(back).toMatchObject({ code: 'ERR_EXODOS_UNCLONEABLE' })
    port2.close()
  })

  test('what waits behind a slow task keeps what it was handed', async () => {
    await using own = makePool({ size: 2, timeout: { drain: 10_000 } })
    await own.ready
    await Promise.all([warmUp(own, 'slowSize'), warmUp(own, 'slowSize')])
    const slow = own.run('slowSize', { ms: 1000 })
    const all = Array.from({ length: 40 }, () => {
      const buffer = new ArrayBuffer(8)
      return own.run('slowSize', { buffer }, { transfer: [buffer] })
    })
    expect(await Promise.all(all)).toEqual(Array(40).fill(8))
    await slow
  })

  test('what was handed to a worker that dies before the task has begun', async () => {
    await using own = makePool({ timeout: { drain: 10_000 } })
    await warmUp(own, 'slowSize')
    await own.run('echo')
    const all = [0, 1, 2, 3, 4].map((at) => {
      const buffer = new ArrayBuffer(8)
      return at === 0 ? own.run('exit', 1) : own.run('slowSize', { buffer }, { transfer: [buffer] })
    })
    const [, ...rest] = await Promise.allSettled(all)
    // Run with all of it, or not at all.
    for (const each of rest) expect(each.status === 'fulfilled' ? each.value : 8).toBe(8)
  })
})
