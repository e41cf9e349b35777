import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Ended, nodeMajor, prelude, run, runAndKill, start } from './support/program.js'

const scopes = `${prelude}
import { closeOnExit, scope } from 'exodos'
import { inspect } from 'node:util'
const tell = (error) => say([error instanceof TypeError && 'TypeError', error.code, error.message].filter(Boolean).join(' '))
/** Things to close. */
const thing = (name) => ({ name, close() { say('close ' + name) } })
const slowThing = (name) => ({ name, async [Symbol.asyncDispose]() { await sleep(2); say('close ' + name) } })
const failing = (name) => ({ name, close() { throw new Error('no ' + name) } })
/** A promise to be resolved from outside. */
const signpost = () => { let pass; const passed = new Promise((resolve) => { pass = resolve }); return { pass, passed } }
`

/** A scope that stands between two hooks, whenever its members come. */
const between = (members: string, leave: string, options = '') => `${scopes}
onExit(() => say('rest'), { name: 'rest' })
const job = scope({ name: 'job' ${options} })
onExit(() => say('before'), { name: 'before' })
${members}
${leave}
say('ready')`

const sync = (name: string) => `job.defer(() => say('${name}'), { name: '${name}' })`
const async = (name: string) => `job.defer(async () => { await sleep(2); say('${name}') }, { name: '${name}' })`

/** What a row looks at: a death by a signal has no code, and what stdout says first is no part of it. */
const outcome = ({ code, signal, lines }: Ended) => ({ code, signal, lines: lines.filter((line) => line !== 'ready') })
const hooks = ({ report }: Ended) => report?.hooks.map((hook) => [...(hook.scope ?? []), hook.name].join(' › '))

/** The rows of a table under their full names. */
const named = <R extends { row: string }>(rows: R[]): [string, R][] => rows.map((each) => [each.row, each])

describe('statements', () => {
  interface Row {
    row: string
    source: string
    lines: string[]
    code?: number
  }
  const table: Row[] = [
    {
      row: 'C63 newest first over sync and async members',
      source: `const job = scope()
        job.use(thing('a')); job.use(slowThing('b')); job.defer(() => say('c'))
        job.adopt('d', async (d) => { await sleep(2); say(d) }); job.use({ [Symbol.dispose]() { say('e') } })
        await job.disposeAsync()
        say('end')`,
      lines: ['e', 'd', 'c', 'close b', 'close a', 'end'],
    },
    ...['throw new Error("refused")', 'await sleep(1); throw new Error("refused")'].map(
      (fails): Row => ({
        row: `C64 entering the second fails (${fails}): the first is closed, the second isn't`,
        source: `const open = async (name) => { if (name === 'second') { ${fails} } return slowThing(name) }
          try {
            await scope().using(async (job) => { job.use(await open('first')); job.use(await open('second')); say('never') })
          } catch (error) { tell(error) }`,
        lines: ['close first', 'refused'],
      }),
    ),
    {
      row: 'C64 the same without a block: the first is closed at exit',
      source: `const job = scope()
        const open = async (name) => { await sleep(1); if (name === 'second') throw new Error('refused'); return slowThing(name) }
        try { for (const name of ['first', 'second']) job.use(await open(name)) } catch (error) { tell(error) }`,
      lines: ['refused', 'close first'],
    },
    {
      row: "C68 two members throw: both errors are kept, with the body's error as cause",
      source: `const body = new Error('body')
        try {
          await scope().using((job) => { job.use(failing('a')); job.use(thing('b')); job.use(failing('c')); throw body })
        } catch (error) { say([error.name, error.cause === body, error.errors.map((each) => each.message)].join()) }`,
      lines: ['close b', 'SuppressedError,true,body,no c,no a'],
    },
    {
      row: "C69 move(): the old scope's end does nothing, the new one owns",
      source: `let kept
        await scope({ name: 'old' }).using((old) => { old.use(thing('a')); kept = old.move(); say(old.disposed + ' ' + kept.disposed) })
        say('moved')
        await kept.disposeAsync()
        say('end')`,
      lines: ['true false', 'moved', 'close a', 'end'],
    },
    {
      row: 'C69 the new one is closed at exit, once, if nobody does it earlier, in the place of the old one',
      source: `onExit(() => say('rest'))
        const old = scope()
        onExit(() => say('before'))
        old.use(slowThing('a')); const kept = old.move(); kept.use(thing('b'))
        await old.disposeAsync()
        try { old.use(thing('late')) } catch (error) { tell(error) }`,
      lines: [
        'close late',
        'ERR_EXODOS_CLOSED scope scope has moved: resource was cleaned up at once',
        'before',
        'close b',
        'close a',
        'rest',
      ],
    },
    {
      row: 'C70 closed twice: members once; a concurrent second close resolves only when the first has finished',
      source: `const job = scope()
        job.use(thing('a')); job.use(slowThing('b'))
        const first = job.disposeAsync().then(() => say('first'))
        const second = job[Symbol.asyncDispose]().then(() => say('second'))
        await Promise.all([first, second])
        await job.disposeAsync()
        say('third')`,
      lines: ['close b', 'close a', 'first', 'second', 'third'],
    },
    {
      row: 'C70 a failed close: the error goes to who began it alone',
      source: `const job = scope()
        job.use(failing('a')); job.use(slowThing('b'))
        const closings = await Promise.allSettled([job.disposeAsync(), job.disposeAsync()])
        await job.disposeAsync()
        say(closings.map(({ status, reason }) => status + ' ' + reason?.message).join())`,
      lines: ['close b', 'rejected no a,fulfilled undefined'],
    },
    ...[
      [`job.use(slowThing('late'))`, 'close late', 'resource'],
      [`job.adopt('late', (name) => say('close ' + name), { name: 'file' })`, 'close late', 'file'],
      [`job.defer(function goodbye() { say('goodbye') })`, 'goodbye', 'goodbye'],
    ].map(
      ([call, closed, name]): Row => ({
        row: `C71 used after it is closed (${call}): a clear error, and what was given to it is cleaned up`,
        source: `const job = scope({ name: 'job' })
          await job.disposeAsync()
          try { ${call}; say('never') } catch (error) { await sleep(20); tell(error) }`,
        lines: [closed as string, `ERR_EXODOS_CLOSED scope job is closed: ${name} was cleaned up at once`],
      }),
    ),
    {
      row: 'C71 what is being cleaned up then is waited for by an exit; its failure is the cause, or an unhandled rejection',
      source: `const job = scope({ name: 'job' })
        await job.disposeAsync()
        try { job.use(failing('sync')) } catch (error) { say(error.cause.message) }
        try { job.adopt(0, async () => { await sleep(20); say('waited for') }) } catch {}
        process.exit(3)`,
      lines: ['no sync', 'waited for'],
      code: 3,
    },
    {
      row: 'C71 no scope and no move in a closed one',
      source: `const job = scope({ name: 'job' })
        await job.disposeAsync()
        for (const call of [() => job.scope(), () => job.move()]) try { call(); say('never') } catch (error) { tell(error) }`,
      lines: [
        'ERR_EXODOS_CLOSED scope job is closed: no scope can be made in it',
        'ERR_EXODOS_CLOSED scope job is closed: nothing is left to move',
      ],
    },
    ...['await job.disposeAsync()', 'await sleep(1)'].map(
      (leave): Row => ({
        row: `C72 deferred while closing: runs next (${leave === 'await sleep(1)' ? 'at exit' : 'by hand'})`,
        source: `const job = scope()
          job.use(thing('old'))
          job.defer(async () => { job.defer(() => say('late sync')); await sleep(2); job.use(slowThing('late async')); say('new') })
          ${leave}`,
        lines: ['new', 'close late async', 'late sync', 'close old'],
      }),
    ),
    ...[
      { way: 'by hand', leave: 'await job.disposeAsync()', lines: ['late', 'member', 'exit'] },
      { way: 'at exit', leave: '', lines: ['exit', 'late', 'member'] },
    ].map(
      ({ way, leave, lines }): Row => ({
        row: `C72 in a parallel scope it runs at once: a member may wait for it (${way})`,
        source: `const job = scope({ parallel: true })
          onExit(() => say('exit'))
          const { pass, passed } = signpost()
          job.defer(async () => { await sleep(1); job.defer(() => { say('late'); pass() }); await passed; say('member') })
          ${leave}`,
        lines,
      }),
    ),
    {
      row: 'C72 by the last one',
      source: `const job = scope()
        job.defer(async () => { await sleep(1); job.defer(() => { say('late'); job.defer(() => say('later')) }) })
        await job.disposeAsync()
        say(job.disposed)`,
      lines: ['late', 'later', 'true'],
    },
    {
      row: 'C74 `use` of something with no way to close it: TypeError, nothing pushed',
      source: `const job = scope()
        for (const wrong of [{}, 42, 'text', () => {}, Promise.resolve(thing('promised'))])
          try { job.use(wrong); say('never') } catch (error) { say([error instanceof TypeError, error.code, /^use.*: expected something to close.*close, quit.*, got ./.test(error.message)].join()) }
        say([job.use(null), job.use(undefined)].map(String))
        await job.disposeAsync()`,
      lines: [...Array(5).fill('true,ERR_EXODOS_INVALID_ARG,true'), 'null,undefined'],
    },
  ]

  test.each(named(table))('%s', async (_, { source, lines, code = 0 }) => {
    const ended = await run(scopes + source)
    expect(outcome(ended)).toEqual({ code, signal: null, lines })
    expect(ended.stderr).toBe('')
  })
})

describe('E17 SIGTERM during start-up', () => {
  /** The start-up code waits for a connection that comes when the run has reached a hook of `release`; its end takes longer than that hook. */
  const starting = (begin: string) => `${scopes}
    const [reached, over] = [signpost(), signpost()]
    const connect = async (name) => {
      await reached.passed
      return { async [Symbol.asyncDispose]() { say('closing ' + name); await over.passed; await sleep(2); say('close ' + name) } }
    }
    onExit(() => say('oldest'), { name: 'oldest' })
    onExit(async () => { say('releasing'); reached.pass(); await sleep(20); say('rest'); over.pass() }, { name: 'rest' })
    hold()
    ${begin}`
  const late = ['releasing', 'closing cache', 'ERR_EXODOS_CLOSED', 'rest', 'close cache', 'oldest']
  const rows = [
    {
      row: 'closeOnExit(await connect()): the resource is closed in the run, the start-up code gets ERR_EXODOS_CLOSED',
      begin: `say('ready')
        try { closeOnExit(await connect('db'), { name: 'db' }); say('never') } catch (error) { say(error.code) }`,
      lines: ['releasing', 'ERR_EXODOS_CLOSED', 'rest', 'closing db', 'close db', 'oldest'],
      called: ['rest', 'db', 'oldest'],
    },
    {
      row: 'closeOnExit(await connect()), nobody catches: recorded, the run goes on',
      begin: `say('ready')
        closeOnExit(await connect('db'), { name: 'db' })
        say('never')`,
      lines: ['releasing', 'rest', 'closing db', 'close db', 'oldest'],
      called: ['rest', 'db', 'oldest'],
      errors: [{ error: { code: 'ERR_EXODOS_CLOSED' } }],
    },
    {
      row: 'scope().use(await connect()): what was acquired is closed, what comes late is closed at once and the call throws',
      begin: `const start = scope({ name: 'start-up' })
        start.use(slowThing('db'), { name: 'db' })
        say('ready')
        try { start.use(await connect('cache'), { name: 'cache' }); say('never') } catch (error) { say(error.code) }`,
      lines: ['close db', ...late],
      called: ['start-up › db', 'rest', 'cache', 'oldest'],
    },
    {
      row: 'scope().using(…): the same, and the end of the block is no second error',
      begin: `await scope({ name: 'start-up' }).using(async (start) => {
          start.use(slowThing('db'), { name: 'db' })
          say('ready')
          start.use(await connect('cache'), { name: 'cache' })
          say('never')
        }).catch((error) => say(error.code))`,
      lines: ['close db', ...late],
      called: ['start-up › db', 'rest', 'cache', 'oldest'],
    },
    {
      row: 'scope().use(await connect()) into a scope that is being closed: closed next, and the call throws',
      begin: `const start = scope({ name: 'start-up' })
        start.use(slowThing('db'), { name: 'db' })
        start.defer(async () => { reached.pass(); await sleep(20); say('member'); over.pass() }, { name: 'member' })
        say('ready')
        try { start.use(await connect('cache'), { name: 'cache' }); say('never') } catch (error) { say(error.code) }`,
      lines: ['ERR_EXODOS_CLOSED', 'member', 'closing cache', 'close cache', 'close db', 'releasing', 'rest', 'oldest'],
      called: ['start-up › member', 'start-up › cache', 'start-up › db', 'rest', 'oldest'],
    },
    {
      row: 'a new scope when `release` has begun: refused, before anything is acquired for it',
      begin: `say('ready')
        await reached.passed
        try { scope({ name: 'start-up' }); say('never') } catch (error) { say(error.code) }`,
      lines: ['releasing', 'ERR_EXODOS_CLOSED', 'rest', 'oldest'],
      called: ['rest', 'oldest'],
    },
  ]
  test.each(named(rows))('E17 %s', async (_, { begin, lines, called, errors = [] }) => {
    const ended = await runAndKill(starting(begin), 'SIGTERM')
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines })
    expect(hooks(ended)).toEqual(called)
    expect(ended.report).toMatchObject({ errors })
  })
})

describe('a scope that is still open is closed where it stands', () => {
  const mixed = `${sync('one')}; ${async('two')}; ${sync('three')}`
  const plain = `${sync('one')}; ${sync('two')}; ${sync('three')}`
  const rows: { row: string; members?: string; leave: string; kill?: NodeJS.Signals; code?: number; stderr?: RegExp }[] = [
    { row: 'natural end', leave: '' },
    { row: 'natural end, sync members', members: plain, leave: '' },
    { row: 'process.exit, sync members', members: plain, leave: 'process.exit(3)', code: 3 },
    { row: 'process.exit, async members', leave: `setTimeout(() => { process.exit(3); say('never') }, 1)`, code: 3 },
    { row: 'exit()', leave: 'setTimeout(() => exit(3), 1)', code: 3 },
    { row: 'an uncaught error', leave: `setTimeout(() => { throw new Error('boom') }, 1)`, code: 1, stderr: /^\nError: boom\n/ },
    { row: 'an unhandled rejection', leave: `Promise.reject(new Error('boom'))`, code: 1, stderr: /^\nError: boom\n/ },
    { row: 'SIGTERM', leave: 'hold()', kill: 'SIGTERM' },
    { row: 'SIGINT, sync members', members: plain, leave: 'hold()', kill: 'SIGINT' },
  ]
  test.each(named(rows))('%s', async (_, { members = mixed, leave, kill, code = 0, stderr = /^$/ }) => {
    const source = between(members, leave)
    const ended = await (kill ? runAndKill(source, kill) : run(source))
    const lines = ['before', 'three', 'two', 'one', 'rest']
    expect(outcome(ended)).toEqual({ code: kill ? null : code, signal: kill ?? null, lines })
    expect(hooks(ended)).toEqual(['before', 'job › three', 'job › two', 'job › one', 'rest'])
    expect(ended.stderr).toMatch(stderr)
  })

  test.each([
    ["an 'exit' event", `configure({ processExit: 'cut' }); process.exit(3)`],
    ['process.reallyExit', 'process.reallyExit(3)'],
  ])('%s: sync members and fallbacks, the rest is not started and reported', async (_, leave) => {
    const members = `${sync('one')}
      ${async('two')}
      job.defer(async () => say('never'), { name: 'three', sync: () => say('stand-in') })
      const inner = job.scope({ name: 'inner' })
      inner.use(slowThing('never'), { name: 'four' })
      inner.use({ [Symbol.dispose]() { say('five') } }, { name: 'five' })`
    const ended = await run(between(members, leave))
    expect(outcome(ended)).toEqual({ code: 3, signal: null, lines: ['before', 'five', 'stand-in', 'one', 'rest'] })
    expect(ended.report?.hooks.map(({ scope = [], name, status, started }) => [...scope, name, status, started])).toEqual([
      ['before', 'ok', true],
      ['job', 'inner', 'five', 'ok', true],
      ['job', 'inner', 'four', 'cut', false],
      ['job', 'three', 'ok', true],
      ['job', 'two', 'cut', false],
      ['job', 'one', 'ok', true],
      ['rest', 'ok', true],
    ])
    expect(ended.report).toMatchObject({ cut: true, exit: { code: 3 } })
    expect(ended.stderr).toMatch(/cut: not started {2}release job › inner › four/)
  })

  test('an asynchronous member in flight is cut where the loop ends, the members below it follow', async () => {
    const members = `${sync('one')}; job.defer(async () => { say('begun'); await sleep(1); process.reallyExit(4) }, { name: 'two' })`
    const ended = await run(between(members, ''))
    expect(outcome(ended)).toEqual({ code: 4, signal: null, lines: ['before', 'begun', 'one', 'rest'] })
    expect(ended.report?.hooks[1]).toMatchObject({ name: 'two', scope: ['job'], status: 'cut', started: true })
  })

  test('nested three deep', async () => {
    const members = `
      ${async('job 1')}
      const middle = job.scope({ name: 'middle' })
      middle.defer(() => say('middle 1'))
      const inner = middle.scope({ name: 'inner' })
      ${async('job 2')}
      inner.defer(async () => { await sleep(2); say('inner 1') }, { name: 'inner 1' })
      middle.defer(async () => { await sleep(2); say('middle 2') })
      inner.defer(() => say('inner 2'))`
    const ended = await runAndKill(between(members, 'hold()'), 'SIGTERM')
    const lines = ['before', 'job 2', 'middle 2', 'inner 2', 'inner 1', 'middle 1', 'job 1', 'rest']
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines })
    expect(ended.report?.hooks[4]).toMatchObject({ name: 'inner 1', scope: ['job', 'middle', 'inner'] })
  })

  test('closing early takes it off, and with the last one all listeners', async () => {
    const counts = `() => ['SIGTERM', 'exit', 'beforeExit'].map((event) => process.listenerCount(event)).join()`
    const ended = await run(`${scopes}
      const counts = ${counts}
      const before = [process.exit, process.emit]
      const idle = counts()
      const job = scope()
      job.use(slowThing('a'))
      const inner = job.scope()
      inner.use(thing('b'))
      const busy = counts()
      await inner.disposeAsync()
      await job.disposeAsync()
      // They linger, for the next scope may be soon to come.
      while (counts() !== idle) await sleep(10)
      say([busy !== idle, process.exit === before[0], process.emit === before[1]].join())`)
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines: ['close b', 'close a', 'true,true,true'] })
    expect(ended.report).toBeUndefined()
  })

  test.for([
    [
      'using(body)',
      `say(await scope().using(async (job) => { job.use(slowThing('a')); await null; job.use(thing('b')); return 'result' }))`,
    ],
    [
      'await using',
      `say(await (async () => { await using job = scope(); job.use(slowThing('a')); job.use(thing('b')); return 'result' })())`,
    ],
  ])('%s', async ([way, code], { skip }) => {
    skip(way === 'await using' && nodeMajor < 24, 'the syntax came with Node 24')
    const ended = await run(`${scopes} onExit(() => say('hook')); ${code}`)
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines: ['close b', 'close a', 'result', 'hook'] })
    expect(ended.report?.hooks).toHaveLength(1)
  })

  test.for([
    [
      'using(body)',
      `await scope({ name: 'job' }).using(async (job) => { job.use(slowThing('a')); say('ready'); await new Promise(() => {}) })`,
    ],
    [
      'await using',
      `{ await using job = scope({ name: 'job' }); job.use(slowThing('a')); say('ready'); await new Promise(() => {}) }`,
    ],
  ])('SIGTERM inside of %s', async ([way, code], { skip }) => {
    skip(way === 'await using' && nodeMajor < 24, 'the syntax came with Node 24')
    const ended = await runAndKill(`${scopes} onExit(() => say('hook')); hold(); ${code}`, 'SIGTERM')
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines: ['close a', 'hook'] })
  })
})

describe('members that misbehave', () => {
  test('a hang: the others are closed in time, the report names the scope and the member', async () => {
    const members = `${async('one')}
      const pool = job.scope({ name: 'pool' })
      pool.use({ close: () => new Promise(() => {}) }, { name: 'connection', state: () => ({ queries: 2 }) })
      ${async('two')}`
    const ended = await runAndKill(between(members, `configure({ grace: '1s' }); hold()`), 'SIGTERM')
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines: ['before', 'two', 'one', 'rest'] })
    expect(ended.report?.duration).toBeLessThan(1000)
    expect(ended.report?.hooks[2]).toMatchObject({
      name: 'connection',
      scope: ['job', 'pool'],
      status: 'overdue',
      state: { queries: 2 },
    })
    expect(ended.stderr).toMatch(/overdue .* release job › pool › connection/)
  })

  test("a scope's own timeout bounds all its members together", async () => {
    const members = ['one', 'two', 'three']
      .map((name) => `job.defer(() => new Promise(() => {}), { name: '${name}' })`)
      .join('\n')
    const ended = await runAndKill(between(members, 'hold()', ', timeout: 200'), 'SIGTERM')
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines: ['before', 'rest'] })
    expect(ended.report?.hooks.map((hook) => hook.status)).toEqual(['ok', 'overdue', 'overdue', 'overdue', 'ok'])
    expect(ended.report?.duration).toBeLessThan(1000)
  })

  test('all throw, at exit: each is reported, the others are closed, 1', async () => {
    const members = `${async('one')}; job.use(failing('two')); job.defer(async () => { await sleep(1); throw new Error('no three') })`
    const ended = await run(between(members, ''))
    expect(outcome(ended)).toEqual({ code: 1, signal: null, lines: ['before', 'one', 'rest'] })
    expect(ended.report?.hooks.map((hook) => hook.error?.message)).toEqual([
      undefined,
      'no three',
      'no two',
      undefined,
      undefined,
    ])
  })

  test('a parallel scope: all members begin before one ends; its edges hold', async () => {
    const members = `
      const { pass, passed } = signpost()
      let begun = 0
      for (const name of ['a', 'b', 'c'])
        job.defer(async () => { say('begin ' + name); if (++begun === 3) pass(); await passed }, { name })
      job.defer(() => say('last'), { name: 'last', after: ['a', 'b', 'c'] })`
    const ended = await runAndKill(between(members, 'hold()', ', parallel: true'), 'SIGTERM')
    const lines = ['before', 'begin c', 'begin b', 'begin a', 'last', 'rest']
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines })
    expect(ended.stderr).toBe('')
  })

  const exits = { 'a sync': `process.exit(9); say('never')`, 'an async': `await sleep(1); process.exit(9); say('never')` }
  test.each(
    Object.entries(exits).flatMap(([kind, body]) => [
      [kind, 'at a natural end', '', 9, body] as const,
      [kind, 'after process.exit(3)', 'setTimeout(() => process.exit(3), 1)', 3, body] as const,
      [kind, 'while closing by hand', 'await job.disposeAsync()', 9, body] as const,
    ]),
  )('process.exit(9) inside of %s member %s: the others once, in order', async (kind, way, leave, code, body) => {
    const member = `job.defer(${kind === 'a sync' ? '' : 'async '}() => { say('two'); ${body} }, { name: 'two' })`
    const ended = await run(between(`${async('one')}; ${member}; ${async('three')}`, leave))
    // By hand, the exit begins in the middle of the scope.
    const byHand = way === 'while closing by hand'
    const lines = byHand ? ['three', 'two', 'before', 'one', 'rest'] : ['before', 'three', 'two', 'one', 'rest']
    expect(outcome(ended)).toEqual({ code, signal: null, lines })
    expect(ended.stderr).toBe('')
  })
})

describe('an exit while the owner is closing the scope', () => {
  /** The member in flight says `ready`, and ends some time after leaving has begun. */
  const inFlight = (ends: string) => `
    ${async('one')}
    ${sync('two')}
    job.defer(async () => {
      say('ready')
      await new Promise((resolve) => exiting.addEventListener('abort', resolve))
      ${ends}
      say('three')
    }, { name: 'three' })
    onExit(() => say('newest'))
    // Time for the owner's own code to go on.
    onExit(() => sleep(20), { priority: -1 })
    hold()`

  test.each([
    ['closed by hand', 'const closed = job.disposeAsync()'],
    ['closed twice', 'const closed = Promise.all([job.disposeAsync(), job.disposeAsync()])'],
    ['closed by using(body)', 'const closed = job.using(() => {})'],
  ])('%s: each member once, the run waits', async (_, close) => {
    const ended = await runAndKill(
      between(inFlight('await sleep(50)'), `${close}; closed.then(() => say('closed'))`).replace(/\nsay\('ready'\)$/, ''),
      'SIGTERM',
    )
    const { lines, ...end } = outcome(ended)
    expect(end).toEqual({ code: null, signal: 'SIGTERM' })
    expect(lines.filter((line) => line !== 'closed')).toEqual(['newest', 'before', 'three', 'two', 'one', 'rest'])
    expect(lines.filter((line) => line === 'closed')).toHaveLength(1)
    expect(ended.stderr).toBe('')
  })

  test('the member in flight hangs: the run goes on with the others, the report names it', async () => {
    const ended = await runAndKill(
      between(inFlight('await new Promise(() => {})'), `configure({ grace: '1s' }); job.disposeAsync()`).replace(
        /\nsay\('ready'\)$/,
        '',
      ),
      'SIGTERM',
    )
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines: ['newest', 'before', 'two', 'one', 'rest'] })
    expect(ended.report?.hooks.filter((hook) => hook.status === 'overdue')).toMatchObject([{ name: 'three', scope: ['job'] }])
    expect(ended.stderr).toMatch(/overdue .* release job › three/)
  })

  test('the event loop ends: the member in flight is cut, of the others the synchronous ones are called, once', async () => {
    const members = `${sync('one')}; ${async('two')}; ${sync('three')}
      job.defer(async () => { say('four'); await sleep(1); process.reallyExit(4) }, { name: 'four' })`
    const ended = await run(between(members, 'await job.disposeAsync()'))
    expect(outcome(ended)).toEqual({ code: 4, signal: null, lines: ['four', 'before', 'three', 'one', 'rest'] })
    expect(ended.report?.hooks.map(({ scope = [], name, status, started }) => [...scope, name, status, started])).toMatchObject([
      ['before', 'ok', true],
      ['job', 'four', 'cut', true],
      ['job', 'three', 'ok', true],
      ['job', 'two', 'cut', false],
      ['job', 'one', 'ok', true],
      ['rest', 'ok', true],
    ])
  })

  test('disposeAsync() during the run: resolves when the run has closed it', async () => {
    const members = `${async('one')}
      job.defer(async () => { say('two'); pass(); await sleep(20) }, { name: 'two' })
      const { pass, passed } = signpost()
      onExit(() => sleep(20), { priority: -1 })
      passed.then(() => job.disposeAsync()).then(() => say('closed'))`
    const ended = await runAndKill(between(members, 'hold()'), 'SIGTERM')
    const { lines, ...end } = outcome(ended)
    expect(end).toEqual({ code: null, signal: 'SIGTERM' })
    expect(lines.filter((line) => line !== 'closed')).toEqual(['before', 'two', 'one', 'rest'])
    expect(lines.indexOf('closed')).toBeGreaterThan(lines.indexOf('one'))
  })

  test.each([
    ['by hand', 'await job.disposeAsync()'],
    ['at exit', ''],
  ])('a member that waits for its own scope, %s: refused by name, no deadlock', async (_, leave) => {
    const members = `${async('one')}; job.defer(async () => { await job.disposeAsync().catch(tell) }, { name: 'selfish' })`
    const ended = await run(between(members, leave))
    const refusal = 'ERR_EXODOS_SELF_WAIT scope job: a member waits for the scope that it is part of'
    const order = leave ? [refusal, 'one', 'before', 'rest'] : ['before', refusal, 'one', 'rest']
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines: order })
    expect(ended.stderr).toBe('')
  })
})

describe('errors of a closing by hand', () => {
  const closing = (body: string) => `${scopes}
    const members = [1, 2, 3, 4, 5].map((n) => new Error('member ' + n))
    const job = scope()
    for (const [i, error] of members.entries()) job.defer(i % 2 ? () => { throw error } : async () => { await sleep(1); throw error })
    const body = ${body ? `new Error('${body}')` : 'undefined'}
    const closed = ${body ? 'job.using(() => { throw body })' : 'job.disposeAsync()'}`
  const messages = [1, 2, 3, 4, 5].map((n) => `member ${n}`)

  test.each([
    ['five members', ''],
    ['five members, and the body', 'of the body'],
  ])('%s: nothing is hidden, neither from code nor from util.inspect', async (_, body) => {
    const ended = await run(`${closing(body)}
      const error = await closed.catch((error) => error)
      const chain = []
      let at = error
      for (; at.suppressed; at = at.suppressed) chain.push(at.error.message)
      chain.push(at.message)
      say(JSON.stringify({
        name: error.name,
        isError: error instanceof Error,
        isNative: typeof SuppressedError === 'undefined' || error instanceof SuppressedError,
        first: error.error === members[0],
        chain,
        errors: error.errors.map((each) => each.message),
        cause: error.cause?.message,
        isSame: error.cause === body,
      }))
      say(inspect(error))`)
    const [seen, ...inspected] = ended.lines
    const inOrder = [...(body ? [body] : []), ...[...messages].reverse()]
    expect(JSON.parse(seen as string)).toEqual({
      name: 'SuppressedError',
      isError: true,
      isNative: true,
      first: true,
      chain: [...inOrder].reverse(),
      errors: inOrder,
      ...(body && { cause: body }),
      isSame: true,
    })
    for (const message of inOrder) expect(inspected.join('\n')).toContain(`Error: ${message}\n`)
  })

  test.each([
    ['', ''],
    ['of the body', ''],
  ])('nobody catches: printed once, with all messages, 1 (body: "%s")', async (body) => {
    const ended = await run(`${closing(body)}; await closed`)
    expect(ended.code).toBe(1)
    for (const message of messages) expect(ended.stderr).toContain(`Error: ${message}\n`)
    if (body) expect(ended.stderr).toContain(`Error: ${body}\n`)
  })

  test('one member: its error is itself, also where it is undefined', async () => {
    const ended = await run(`${scopes}
      for (const error of [new Error('alone'), undefined, Object.freeze({})]) {
        const job = scope()
        job.defer(() => { throw error })
        await job.disposeAsync().then(() => say('never'), (caught) => say(caught === error))
      }
      const body = new Error('body')
      await scope().using((job) => { job.use(thing('a')); throw body }).catch((caught) => say(caught === body && !('cause' in caught)))`)
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines: ['true', 'true', 'true', 'close a', 'true'] })
  })
})

describe('worker threads', () => {
  test.each([
    ['natural end', '', 0],
    ['process.exit', `setTimeout(() => { process.exit(4); say('never') }, 1)`, 4],
  ])('a scope in a worker, %s: closed there, the main thread has its own', async (_, leave, code) => {
    const ended = await run(`${scopes}
      import { Worker, isMainThread } from 'node:worker_threads'
      const job = scope({ name: 'job' })
      const who = isMainThread ? 'main' : 'worker'
      job.use(slowThing('a of ' + who)); job.use(thing('b of ' + who))
      if (isMainThread) new Worker(new URL(import.meta.url)).on('exit', (code) => say('worker ended ' + code))
      else { ${leave} }`)
    const lines = ['close b of worker', 'close a of worker', `worker ended ${code}`, 'close b of main', 'close a of main']
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines })
    expect(ended.stderr).toBe('')
  })
})

describe('two copies', () => {
  let dir: string
  let copies: string

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), 'exodos-scopes-'))
    copies = ['a', 'b'].map((name) => `import * as ${name} from '${pathToFileURL(join(dir, name, 'index.js'))}'\n`).join('')
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }')
    for (const name of ['a', 'b'])
      cpSync(fileURLToPath(new URL('../dist', import.meta.url)), join(dir, name), { recursive: true })
  })
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  const rows = [
    {
      row: 'a scope of one after a hook of the other, by name',
      source: `a.onExit(() => say('oldest'))
        b.onExit(async () => { await sleep(2); say('db') }, { name: 'db' })
        const log = a.scope({ name: 'log', after: 'db' })
        log.use(slowThing('log'))
        b.onExit(() => say('newest'))`,
      lines: ['newest', 'db', 'close log', 'oldest'],
    },
    {
      row: 'the same by registration',
      source: `const db = b.onExit(async () => { await sleep(2); say('db') })
        a.scope({ after: db }).use(slowThing('log'))`,
      lines: ['db', 'close log'],
    },
    {
      row: 'a hook of one after a member of a scope of the other',
      source: `const pool = a.scope({ name: 'pool' })
        pool.use(slowThing('connection'), { name: 'connection' })
        b.onExit(() => say('log'), { name: 'log', after: 'connection' })
        b.onExit(() => say('admin'), { name: 'admin', after: pool })`,
      lines: ['close connection', 'admin', 'log'],
    },
    {
      row: 'a scope of one moves into a scope of the other',
      source: `const outer = a.scope({ name: 'outer' })
        outer.use(thing('first'))
        const inner = b.scope({ name: 'inner' })
        inner.use(slowThing('inner'))
        outer.use(inner)
        outer.use(thing('last'))`,
      lines: ['close last', 'close inner', 'close first'],
    },
    {
      row: 'a cycle through both is refused',
      source: `a.scope({ name: 'one', after: 'two' }).use(thing('one'))
        try { b.scope({ name: 'two', after: 'one' }) } catch (error) { tell(error) }`,
      lines: ['ERR_EXODOS_CYCLE options.after: expected an order without a cycle, got two → after one → after two', 'close one'],
    },
  ]
  test.each(named(rows))('%s', async (_, { source, lines }) => {
    const ended = await runAndKill(`${copies}${scopes}${source}\nhold(); say('ready')`, 'SIGTERM')
    expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines })
    expect(ended.stderr).toBe('')
  })

  test('one resource given to both is closed once', async () => {
    const ended = await run(`${copies}${scopes} const db = slowThing('db'); a.closeOnExit(db); b.scope().use(db)`)
    expect(outcome(ended)).toEqual({ code: 0, signal: null, lines: ['close db'] })
  })
})

test('closing early in the middle of a program: no run, no report, and what is left is closed at the end', async () => {
  const program = start(
    between(`${async('one')}; await job.disposeAsync(); const next = scope(); next.use(thing('next'))`, 'hold()'),
  )
  await program.until('ready')
  program.kill('SIGTERM')
  const ended = await program.ended
  expect(outcome(ended)).toEqual({ code: null, signal: 'SIGTERM', lines: ['one', 'close next', 'before', 'rest'] })
})
