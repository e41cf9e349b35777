import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { onExit, type Phase, runExitHooks, type TrackOptions, track } from '../src/index.js'
import { type FakeClock, fakeClock, type IsolatedExits, isolateExits } from '../src/testing.js'
import { prelude, run, runAndKill } from './support/program.js'

let exits: IsolatedExits
let clock: FakeClock
let log: string[]
beforeEach(() => {
  clock = fakeClock()
  exits = isolateExits({ clock })
  log = []
})
afterEach(() => exits.restore())

const lasting = (ms: number) => new Promise<void>((resolve) => clock.wait(ms, resolve))
const never = () => new Promise<never>(() => {})
const handOver = (name: string): TrackOptions => ({
  name,
  onAbandon: ({ signal }) => void log.push(`${name}, ${signal.aborted}`),
})
const spending = (phase: Phase, ms: number) => onExit(() => lasting(ms), { name: phase, phase, timeout: '9s' })
/** Lets all time pass. */
const finished = async (run: ReturnType<IsolatedExits['run']>) => {
  await clock.advance('1h')
  const { hooks } = await run
  return hooks.map(({ name, phase, status }) => `${name} | ${phase} | ${status}`)
}

describe('drain is over when it is closed and empty', () => {
  test('work that is tracked by other work while drain waits is waited for', async () => {
    const chain = async (link: number) => {
      await lasting(10)
      log.push(`link ${link}`)
      if (link < 4) track(chain(link + 1))
    }
    track(chain(1))
    onExit(() => void log.push('save'), { phase: 'save' })
    await finished(exits.run())
    expect(log).toEqual(['link 1', 'link 2', 'link 3', 'link 4', 'save'])
  })

  test.each([
    ['in the callback of its end', (begin: () => void) => begin()],
    ['a microtask after its end', (begin: () => void) => queueMicrotask(begin)],
    ['three microtasks after its end', (begin: () => void) => queueMicrotask(() => queueMicrotask(() => queueMicrotask(begin)))],
    ['a tick after its end', (begin: () => void) => process.nextTick(begin)],
  ])('work that begins %s is waited for', async (_, schedule) => {
    const second = () => void track(lasting(10).then(() => log.push('second')))
    void track(lasting(10)).then(() => schedule(second))
    onExit(() => void log.push('save'), { phase: 'save' })
    await finished(exits.run())
    expect(log).toEqual(['second', 'save'])
  })

  test('work tracked in a later phase is waited for there, with a warning', async () => {
    onExit(() => void track(lasting(10).then(() => log.push('late'))), { phase: 'save' })
    onExit(() => void log.push('released'))
    const run = exits.run()
    expect(await finished(run)).toContain('tracked work | save | ok')
    expect(log).toEqual(['late', 'released'])
    expect((await run).warnings).toHaveLength(1)
  })

  test('a timeout ends the waiting for its work alone', async () => {
    track(never(), { name: 'short', timeout: '50ms' })
    track(
      lasting(500).then(() => log.push('long ends')),
      { name: 'long' },
    )
    onExit(() => void log.push('released'), { name: 'release' })
    const run = exits.run()
    expect(await finished(run)).toEqual(['long | drain | ok', 'short | drain | overdue', 'release | release | ok'])
    expect((await run).hooks[1]?.end).toBe(50)
    expect(log).toEqual(['long ends', 'released'])
  })
})

describe('onAbandon', () => {
  const work = (promise: Promise<unknown>, options: TrackOptions) => track(promise, { ...handOver('mail'), ...options })

  test.each<[what: string, begin: () => void, hooks: string[], log: string[]]>([
    [
      'work to abandon: in drain',
      () => work(never(), { onExit: 'abandon' }),
      ['mail | drain | ok', 'release | release | ok'],
      ['mail, false'],
    ],
    [
      'overdue work: in save',
      () => work(never(), { timeout: 50 }),
      ['mail | drain | overdue', 'mail: hand over | save | ok', 'release | release | ok'],
      ['mail, false'],
    ],
    [
      'overdue work without a timeout of its own: in save',
      () => work(never(), {}),
      ['mail | drain | overdue', 'mail: hand over | save | ok', 'release | release | ok'],
      ['mail, false'],
    ],
    [
      'work to abandon that has settled in announce: not called',
      () => {
        spending('announce', 20)
        work(lasting(10), { onExit: 'abandon' })
      },
      ['announce | announce | ok', 'release | release | ok'],
      [],
    ],
    [
      'work to finish that finishes: not called',
      () => work(lasting(10), {}),
      ['mail | drain | ok', 'release | release | ok'],
      [],
    ],
    [
      'overdue work that has settled before save: not called',
      () => {
        spending('drain', 100)
        work(lasting(70), { timeout: 50 })
      },
      ['mail | drain | overdue', 'drain | drain | ok', 'release | release | ok'],
      [],
    ],
  ])('of %s', async (_, begin, hooks, expected) => {
    begin()
    onExit(() => {}, { name: 'release' })
    expect(await finished(exits.run())).toEqual(hooks)
    expect(log).toEqual(expected)
  })

  test.each<[when: string, begin: () => void, log: string[]]>([
    ['while drain waits: once, in save', () => work(never(), {}), ['mail, true', 'save']],
    [
      'before drain: once',
      () => {
        spending('announce', 20)
        work(never(), {})
      },
      ['mail, true', 'save'],
    ],
    ['and the work settles in the time that is left: not at all', () => work(lasting(20), {}), ['save']],
    [
      'after it was overdue: once',
      () => {
        spending('drain', 100)
        work(never(), { timeout: 5 })
      },
      ['mail, true', 'save'],
    ],
  ])('a run is forced %s', async (_, begin, expected) => {
    begin()
    onExit(() => void log.push('save'), { phase: 'save', priority: -1 })
    const run = exits.run({ signal: 'SIGTERM' })
    await clock.advance(10)
    exits.force()
    await finished(run)
    expect(log).toEqual(expected)
  })

  test('what it returns is waited for, and an error in it stops nothing', async () => {
    const slow = async () => {
      await lasting(50)
      log.push('handed over')
    }
    track(never(), { name: 'a', onExit: 'abandon', onAbandon: slow })
    track(never(), { name: 'b', timeout: 10, onAbandon: slow })
    track(never(), {
      name: 'c',
      onExit: 'abandon',
      onAbandon: () => {
        throw new Error('no')
      },
    })
    onExit(() => void log.push('released'))
    const seen = await finished(exits.run())
    expect(log).toEqual(['handed over', 'handed over', 'released'])
    expect(seen).toContain('c | drain | failed')
    expect(seen).toContain('b: hand over | save | ok')
  })

  test.each(['save', 'release', 'flush'] as const)(
    'of work tracked in %s: called when it is overdue, not before',
    async (phase) => {
      onExit(() => void track(lasting(50), handOver('finishes')), { phase })
      onExit(() => void track(never(), { ...handOver('hangs'), timeout: 20 }), { phase })
      const run = exits.run()
      await clock.advance(10)
      expect(log).toEqual([])
      await finished(run)
      expect(log).toEqual(['hangs, false'])
    },
  )

  test('after an explicit run it is not called again', async () => {
    track(never(), { ...handOver('abandoned'), onExit: 'abandon' })
    track(never(), { ...handOver('overdue'), timeout: 10 })
    await finished(runExitHooks())
    expect(log).toEqual(['abandoned, false', 'overdue, false'])
    expect((await exits.run()).hooks).toEqual([])
    expect(log).toHaveLength(2)
  })
})

describe('stats', () => {
  const counts = () => {
    const { running, finished, failed, handedOver } = track.stats()
    return [running, finished, failed, handedOver]
  }

  test('before, during and after', async () => {
    expect(track.stats()).toEqual({ running: 0, finished: 0, failed: 0, handedOver: 0 })
    const late = deferred()
    const work = [
      track(lasting(10)),
      track(lasting(20).then(() => Promise.reject(new Error('failed')))).catch(() => log.push('seen')),
      track(late.promise, { timeout: 50 }),
      track(never(), { timeout: 50, onAbandon: () => {} }),
      track(never(), { onExit: 'abandon', onAbandon: () => {} }),
      track(never(), { onExit: 'abandon' }),
    ]
    expect(counts()).toEqual([6, 0, 0, 0])
    await clock.advance(10)
    expect(counts()).toEqual([5, 1, 0, 0])
    const run = exits.run()
    await clock.advance(10)
    await work[1]
    expect(counts().slice(0, 3)).toEqual([4, 1, 1])
    await finished(run)
    expect(counts()).toEqual([4, 1, 1, 2])
    late.resolve()
    await work[2]
    expect(counts()).toEqual([3, 2, 1, 2])
  })

  test('work that finishes although the run was forced is not counted as handed over', async () => {
    for (const onAbandon of [() => {}, undefined]) track(lasting(20), { ...(onAbandon && { onAbandon }) })
    const run = exits.run({ signal: 'SIGTERM' })
    await clock.advance(10)
    exits.force()
    expect(await finished(run)).toContain('tracked work | drain | ok')
    expect(counts()).toEqual([0, 2, 0, 0])
  })

  test('are a copy', () => {
    track.stats().running = 5
    expect(counts()).toEqual([0, 0, 0, 0])
  })
})

describe('input', () => {
  test.each<[what: string, call: () => unknown, message: string]>([
    ['no promise', () => track(1 as never), 'track(promise): expected a promise, got 1'],
    ['nothing', () => track(undefined as never), 'track(promise): expected a promise, got undefined'],
    ['a function', () => track((() => {}) as never), 'track(promise): expected a promise'],
    [
      'another onExit',
      () => track(never(), { onExit: 'drop' as never }),
      `options.onExit: expected 'finish' or 'abandon', got "drop"`,
    ],
    ['an onAbandon to call', () => track(never(), { onAbandon: 1 as never }), 'options.onAbandon: expected a function, got 1'],
    ['an unknown option', () => track(never(), { phase: 'save' } as never), 'track(promise, options): expected one of'],
    ...(['finish', 'abandon'] as const).flatMap((onExit): [string, () => unknown, string][] => [
      [`a timeout of no form, ${onExit}`, () => track(never(), { timeout: 'soon' as never, onExit }), 'options.timeout'],
      [
        `a name that is no string, ${onExit}`,
        () => track(never(), { name: 1 as never, onExit }),
        'options.name: expected a string, got 1',
      ],
    ]),
  ])('%s is refused, and not counted', (_, call, message) => {
    expect(call).toThrow(expect.objectContaining({ code: 'ERR_EXODOS_INVALID_ARG', message: expect.stringContaining(message) }))
    expect(call).toThrow(TypeError)
    expect(track.stats().running).toBe(0)
  })

  test('a thenable is as good as a promise', async () => {
    // biome-ignore lint/suspicious/noThenProperty: that is what a thenable is
    await expect(track({ then: (resolve: (value: number) => void) => resolve(5) } as PromiseLike<number>)).resolves.toBe(5)
  })
})

describe('processes', () => {
  test('SIGTERM: the work is waited for, what it starts, too', async () => {
    const ended = await runAndKill(
      `${prelude}
      const work = async (n) => { await sleep(50); say('work ' + n); if (n < 2) track(work(n + 1)) }
      exiting.addEventListener('abort', () => track(work(1)))
      onExit(() => say('released')); hold(); say('ready')`,
      'SIGTERM',
    )
    expect(ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'work 1', 'work 2', 'released'], stderr: '' })
  })

  const leaving = {
    'process.reallyExit': 'process.reallyExit(4)',
    "'exit'": `process.once('exit', () => { process.exitCode = 4 }); configure({ processExit: 'cut' }); process.exit(4)`,
  }
  test.each(Object.entries(leaving))(
    '%s: a synchronous onAbandon is called, once, an async one is not started, none for what has settled',
    async (_, leave) => {
      const ended = await run(`${prelude}
        const never = new Promise(() => {})
        for (const onExit of ['finish', 'abandon']) {
          track(never, { name: 'sync ' + onExit, onExit, onAbandon: () => say('sync ' + onExit) })
          track(never, { name: 'async ' + onExit, onExit, onAbandon: async () => say('never') })
          await track(sleep(1), { onExit, onAbandon: () => say('never') })
        }
        onExit(() => say('released ' + JSON.stringify(track.stats())))
        ${leave}`)
      expect(ended.code).toBe(4)
      expect([...ended.lines].sort()).toEqual([
        'released {"running":4,"finished":2,"failed":0,"handedOver":2}',
        'sync abandon',
        'sync finish',
      ])
      const cut = ended.report?.hooks.filter(({ started, status }) => status === 'cut' && !started).map(({ name }) => name)
      expect(cut).toEqual(['async abandon', 'async finish: hand over'])
    },
  )

  test('a rejection of tracked work that nobody handles stays an uncaught one', async () => {
    const ended = await run(`${prelude} track(sleep(5).then(() => { throw new Error('mine') })); onExit(() => say('released'))`)
    expect(ended).toMatchObject({ code: 1, lines: ['released'] })
    expect(ended.stderr).toContain('Error: mine')
  })
})

function deferred() {
  let resolve = () => {}
  const promise = new Promise<void>((done) => {
    resolve = done
  })
  return { promise, resolve }
}
