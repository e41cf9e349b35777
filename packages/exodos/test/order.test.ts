import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type HookOptions, onExit, type Phase, runExitHooks, track } from '../src/index.js'
import { type FakeClock, fakeClock, type IsolatedExits, isolateExits } from '../src/testing.js'

let exits: IsolatedExits
let clock: FakeClock
let log: string[]
beforeEach(() => {
  clock = fakeClock()
  exits = isolateExits({ clock })
  log = []
})
afterEach(() => exits.restore())

const hook = (name: string, options: HookOptions = {}) => onExit(() => void log.push(name), { name, ...options })
/** Ends after some time of the fake clock. */
const lasting = (name: string, ms: number, options: HookOptions = {}) =>
  onExit(
    async () => {
      log.push(`${name} begins`)
      await new Promise<void>((resolve) => clock.wait(ms, resolve))
      log.push(`${name} ends`)
    },
    { name, ...options },
  )

describe('order', () => {
  test('priority first, then newest first', async () => {
    for (const [name, priority] of [
      ['a', 0],
      ['b', 5],
      ['c', 0],
      ['d', -1],
      ['e', 5],
      ['f', 0.5],
    ] as const)
      hook(name, { priority })
    await exits.run()
    expect(log).toEqual(['e', 'b', 'f', 'c', 'a', 'd'])
  })

  test('`after` holds where creation order is not the right order', async () => {
    const early = hook('early')
    hook('log', { after: 'db', priority: 9 })
    hook('db')
    hook('last', { after: [early, 'log'] })
    await exits.run()
    expect(log).toEqual(['db', 'log', 'early', 'last'])
  })

  test('`after` waits for all of a name, in concurrent phases too', async () => {
    lasting('db', 30, { phase: 'drain' })
    lasting('db', 10, { phase: 'drain' })
    hook('log', { phase: 'drain', after: 'db' })
    hook('free', { phase: 'drain' })
    const run = exits.run()
    await clock.advance('1s')
    await run
    expect(log).toEqual(['free', 'db begins', 'db begins', 'db ends', 'db ends', 'log'])
  })

  test('an edge to what does not exist holds nothing back', async () => {
    hook('a', { after: 'nobody' })
    await exits.run()
    expect(log).toEqual(['a'])
  })

  test('an edge of a hook registered during the run waits for one that has begun', async () => {
    onExit(
      async () => {
        onExit(() => void log.push('late'), { phase: 'drain', after: 'outer' })
        await new Promise<void>((resolve) => clock.wait(10, resolve))
        log.push('outer ends')
      },
      { phase: 'drain', name: 'outer' },
    )
    const run = exits.run()
    await clock.advance(100)
    await run
    expect(log).toEqual(['outer ends', 'late'])
  })

  test('release runs one after another, the other phases run at once', async () => {
    lasting('a', 10)
    lasting('b', 10)
    lasting('c', 10, { phase: 'save' })
    lasting('d', 10, { phase: 'save' })
    const run = exits.run()
    await clock.advance('1s')
    await run
    expect(log).toEqual(['d begins', 'c begins', 'd ends', 'c ends', 'b begins', 'b ends', 'a begins', 'a ends'])
  })

  test('replace takes the place of one in another phase, too, and what is refused takes nothing', async () => {
    hook('b', { phase: 'save' })
    hook('a', { after: 'b' })
    expect(() => hook('b', { after: 'a', replace: true })).toThrow('a cycle')
    onExit(() => void log.push('new b'), { name: 'b', replace: true })
    const { hooks } = await exits.run()
    expect(hooks.map((entry) => entry.phase)).toEqual(['release', 'release'])
    expect(log).toEqual(['new b', 'a'])
  })

  test('long chains of edges are registered and run', async () => {
    let last = hook('link 0', { priority: -1 })
    for (let i = 1; i < 2000; i++) last = hook(`link ${i}`, { after: i % 2 ? last : `link ${i - 1}`, priority: i % 7 })
    await exits.run()
    expect(log.length).toBe(2000)
    expect(log.slice(0, 3)).toEqual(['link 0', 'link 1', 'link 2'])
  })

  test('replace takes the place of the hooks of that name', async () => {
    hook('server')
    onExit(() => void log.push('new server'), { name: 'server', replace: true })
    hook('other')
    await exits.run()
    expect(log).toEqual(['other', 'new server'])
  })
})

describe('registrations', () => {
  test('run() runs once and takes off, cancel() takes off', async () => {
    const off = onExit((ctx) => `ran ${ctx.reason.kind} ${ctx.remaining()}`)
    expect(off.run()).toBe('ran explicit Infinity')
    expect(off.run()).toBeUndefined()
    const other = hook('never')
    other.cancel()
    other()
    expect(other.run()).toBeUndefined()
    hook('disposed')[Symbol.dispose]()
    expect((await exits.run()).hooks).toEqual([])
    expect(log).toEqual([])
  })

  test('track waits in drain, abandon does not, and done work is forgotten', async () => {
    let resolve = (_: string) => {}
    const promise = new Promise<string>((done) => {
      resolve = done
    })
    track(
      promise.then((value) => void log.push(value)),
      { name: 'mail' },
    )
    track(new Promise(() => {}), { onExit: 'abandon' })
    await track(Promise.resolve('done'))
    hook('released')
    const run = exits.run()
    await clock.advance(10)
    expect(log).toEqual([])
    resolve('mailed')
    const report = await run
    expect(log).toEqual(['mailed', 'released'])
    expect(report.hooks.map((entry) => entry.name)).toEqual(['mail', 'released'])
  })

  test('whoever has the promise of tracked work sees its end before the process leaves', async () => {
    const work = track(new Promise((_, reject) => clock.wait(10, () => reject(new Error('late')))))
    work.catch((error) => log.push(error.message))
    onExit(() => void log.push('released'))
    const run = exits.run()
    await clock.advance(100)
    expect((await run).hooks[0]).toMatchObject({ status: 'ok' })
    expect(log).toEqual(['late', 'released'])
  })

  test('a rejection of tracked work stays with the caller', async () => {
    await expect(track(Promise.reject(new Error('mine')))).rejects.toThrow('mine')
  })
})

describe('time', () => {
  const hang = (name: string, options: HookOptions = {}) => onExit(() => new Promise(() => {}), { name, ...options })
  const duration = async (run: Promise<{ hooks: { name: string; begin: number; end: number; status: string }[] }>) => {
    const { hooks } = await run
    return hooks.map(({ name, begin, end, status }) => [name, status, Math.round(end - begin)])
  }

  test('a hook of its own timeout is overdue then, and no earlier', async () => {
    hang('a', { timeout: '120ms' })
    const run = exits.run()
    await clock.advance('1h')
    expect(await duration(run)).toEqual([['a', 'overdue', 120]])
  })

  test('without one a hang in release takes half of what is left, so the others are not starved', async () => {
    for (const name of ['c', 'b', 'a']) hang(name)
    const run = exits.run()
    await clock.advance('1h')
    // 10 s of grace, of which half a second is kept for leaving.
    expect(await duration(run)).toEqual([
      ['a', 'overdue', 4750],
      ['b', 'overdue', 2375],
      ['c', 'overdue', 1188],
    ])
  })

  test('a hanging drain leaves time to save and release', async () => {
    hang('drain', { phase: 'drain' })
    lasting('save', 20, { phase: 'save' })
    hang('release')
    hang('flush', { phase: 'flush' })
    const run = exits.run()
    await clock.advance('1h')
    const times = await duration(run)
    expect(times).toEqual([
      ['drain', 'overdue', 5000],
      ['save', 'ok', expect.any(Number)],
      ['release', 'overdue', expect.closeTo(1990, -1.5)],
      ['flush', 'overdue', expect.any(Number)],
    ])
    expect(log).toContain('save begins')
  })

  test('a hook that is registered for a later phase while an earlier one hangs has its share', async () => {
    onExit(
      () => {
        lasting('release', 100)
        return new Promise(() => {})
      },
      { phase: 'drain', name: 'hung' },
    )
    const run = exits.run()
    await clock.advance('1h')
    expect(await duration(run)).toEqual([
      ['hung', 'overdue', 7500],
      ['release', 'ok', 100],
    ])
  })

  test('many priorities cost no more than many hooks', async () => {
    for (let i = 0; i < 5000; i++) hook(String(i), { priority: i })
    await exits.run()
    expect(log.length).toBe(5000)
    expect(log[0]).toBe('4999')
  })

  test('when the total is spent the rest are still called, with the signal aborted', async () => {
    const seen: boolean[] = []
    // Nothing is kept for phases without hooks, so these come when drain has had everything.
    const late = (phase: Phase) => onExit((ctx) => void seen.push(ctx.signal.aborted), { phase })
    onExit(
      (ctx) =>
        new Promise(() => ctx.signal.addEventListener('abort', () => ['save', 'flush'].map((phase) => late(phase as Phase)))),
      {
        phase: 'drain',
      },
    )
    const run = exits.run()
    await clock.advance('1h')
    expect((await run).duration).toBe(9500)
    expect(seen).toEqual([true, true])
  })

  test('a lease that is renewed in time is granted up to the total', async () => {
    const granted: number[] = []
    onExit(
      async (ctx) => {
        for (;;) {
          const ms = ctx.extend('2s')
          granted.push(ms)
          if (ms < 2000) return
          await new Promise<void>((resolve) => clock.wait(1000, resolve))
        }
      },
      { timeout: '1s', name: 'lease' },
    )
    const run = exits.run()
    await clock.advance('1h')
    expect((await run).hooks[0]).toMatchObject({ status: 'ok' })
    expect(granted).toEqual([2000, 2000, 2000, 2000, 2000, 2000, 2000, 2000, 1500])
  })

  test('forced: signals abort, and only the reserve is left', async () => {
    const seen: string[] = []
    onExit((ctx) => new Promise(() => ctx.signal.addEventListener('abort', () => seen.push('aborted'))), {
      name: 'drain',
      phase: 'drain',
    })
    onExit((ctx) => void seen.push(`release ${ctx.signal.aborted} ${ctx.remaining() > 0}`))
    const run = exits.run({ signal: 'SIGTERM' })
    await clock.advance('1s')
    exits.force()
    await clock.advance('1h')
    const report = await run
    expect(seen).toEqual(['aborted', 'release true true'])
    expect(report).toMatchObject({ forced: true, exit: { signal: 'SIGTERM' } })
    expect(report.duration).toBeLessThanOrEqual(2000)
  })

  test('what settles late is recorded', async () => {
    lasting('late', 500, { timeout: 100 })
    lasting('meanwhile', 1000, { priority: -1 })
    const run = exits.run()
    await clock.advance('1h')
    expect((await run).hooks[0]).toMatchObject({ name: 'late', status: 'overdue', late: 'ok' })
  })
})

describe('contexts', () => {
  test('a hook sees the async context of its registration, whoever ends the program', async () => {
    const { AsyncLocalStorage } = await import('node:async_hooks')
    const store = new AsyncLocalStorage<string>()
    const see = (name: string) => onExit(async () => void log.push(`${name}: ${store.getStore()}`))
    see('outside')
    store.run('request 1', () => see('inside'))
    await store.run('request 2', () => runExitHooks())
    expect(log).toEqual(['inside: request 1', 'outside: undefined'])
  })

  test('reason, first reason and status reach the hook and the report', async () => {
    onExit(({ reason, status }) => {
      log.push(`${reason.kind} ${reason.signal} ${reason.first.signal}`)
      status('all fine')
    })
    const report = await exits.run({ signal: 'SIGINT' })
    expect(log).toEqual(['signal SIGINT SIGINT'])
    expect(report.hooks[0]?.saying).toBe('all fine')
  })

  test('exiting is aborted when leaving begins, not by an explicit run', async () => {
    await runExitHooks()
    expect(exits.exiting.aborted).toBe(false)
    onExit(() => void log.push(String(exits.exiting.aborted)))
    await exits.run({ code: 0 })
    expect(log).toEqual(['true'])
  })
})
