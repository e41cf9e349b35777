import { describe, expect, test } from 'vitest'
import { prelude, run, runAndKill, start } from './support/program.js'

const atexit = `${prelude}
import { register, unregister, runExitFuncs, clear, ncallbacks } from 'exodos/atexit'
`

describe('registry', () => {
  test('C1 three functions run newest first', async () => {
    const { lines, code } = await run(`${atexit} for (const name of ['a', 'b', 'c']) register(() => say(name))`)
    expect(lines).toEqual(['c', 'b', 'a'])
    expect(code).toBe(0)
  })

  test('C2 arguments given at registration arrive unchanged', async () => {
    const { lines } = await run(`${atexit}
      const object = { o: 1 }
      register((...args) => say(String(args[0] === object && args[1] === undefined && args[2] === 'x' && args.length === 3)), object, undefined, 'x')`)
    expect(lines).toEqual(['true'])
  })

  test('C3 register returns the function it was given', async () => {
    const { lines } = await run(`${atexit} const f = () => {}; say(String(register(f) === f))`)
    expect(lines).toEqual(['true'])
  })

  test('C4 the same function registered 4 times is called 4 times', async () => {
    const { lines } = await run(`${atexit} const f = (n) => say('f' + n); for (const n of [1, 2, 3, 4]) register(f, n)`)
    expect(lines).toEqual(['f4', 'f3', 'f2', 'f1'])
  })

  test('C5 unregister takes off all duplicates, and only them', async () => {
    const { lines } = await run(`${atexit}
      const twin = () => say('twin')
      register(twin); register(twin); register(() => say('other')); register(twin); register(twin)
      unregister(twin)`)
    expect(lines).toEqual(['other'])
  })

  test('C6 unregister of an unknown function has no effect and is no error', async () => {
    const { lines, code } = await run(`${atexit} register(() => say('a')); unregister(() => {}); say(String(ncallbacks()))`)
    expect(lines).toEqual(['1', 'a'])
    expect(code).toBe(0)
  })

  test('C7 registering a non-function is a TypeError naming what came, and the count stays', async () => {
    const { lines } = await run(`${atexit}
      for (const wrong of [42, null, 'text', {}]) {
        try { register(wrong) } catch (error) { say(JSON.stringify([error instanceof TypeError, error.code, error.message])) }
      }
      try { onExit(42) } catch (error) { say(JSON.stringify([error instanceof TypeError, error.code, error.message])) }
      say(String(ncallbacks()))`)
    expect(lines).toEqual([
      '[true,"ERR_EXODOS_INVALID_ARG","register(fn): expected a function, got 42"]',
      '[true,"ERR_EXODOS_INVALID_ARG","register(fn): expected a function, got null"]',
      '[true,"ERR_EXODOS_INVALID_ARG","register(fn): expected a function, got \\"text\\""]',
      '[true,"ERR_EXODOS_INVALID_ARG","register(fn): expected a function, got [object Object]"]',
      '[true,"ERR_EXODOS_INVALID_ARG","onExit(fn): expected a function, got 42"]',
      '0',
    ])
  })

  test('C8 registering nothing is a TypeError', async () => {
    const { lines } = await run(`${atexit}
      for (const f of [register, onExit]) try { f() } catch (error) { say(String(error instanceof TypeError)) }`)
    expect(lines).toEqual(['true', 'true'])
  })

  test('C9 after clear none runs', async () => {
    const { lines, code } = await run(`${atexit} register(() => say('a')); register(() => say('b')); clear()`)
    expect(lines).toEqual([])
    expect(code).toBe(0)
  })

  test('C10 unregister lowers the count', async () => {
    const { lines } = await run(`${atexit}
      const f = () => {}
      register(f); register(() => {}); say(String(ncallbacks())); unregister(f); say(String(ncallbacks()))`)
    expect(lines).toEqual(['2', '1'])
  })

  test('C11 a second explicit run does nothing', async () => {
    const { lines } = await run(`${atexit} register(() => say('a')); await runExitFuncs(); await runExitFuncs(); say('end')`)
    expect(lines).toEqual(['a', 'end'])
  })

  test('C12 registered again after an explicit run it runs once in the next', async () => {
    const { lines } = await run(`${atexit}
      const f = () => say('f')
      register(f); await runExitFuncs(); register(f); say(String(ncallbacks()))`)
    expect(lines).toEqual(['f', '1', 'f'])
  })

  test('C13 10,000 functions all run, in linear time, without stack overflow', async () => {
    const { lines, code } = await run(`${atexit}
      let ran = 0
      const time = async (n, fn) => {
        for (let i = 0; i < n; i++) register(fn)
        const begin = performance.now()
        await runExitFuncs()
        return performance.now() - begin
      }
      await time(1000, () => {})
      const small = await time(10_000, () => ran++)
      const large = await time(100_000, () => ran++)
      for (let i = 0; i < 10_000; i++) register(async () => ran++)
      await runExitFuncs()
      say(ran + ' ' + (large < small * 40))`)
    expect(lines).toEqual(['120000 true'])
    expect(code).toBe(0)
  })

  test('C15 registered during the run it runs next', async () => {
    const { lines } = await run(`${atexit}
      register(() => say('old'))
      register(() => { say('new'); register(() => say('late')) })`)
    expect(lines).toEqual(['new', 'late', 'old'])
  })

  test('C16 registered by the last one it runs', async () => {
    const { lines } = await run(`${atexit} register(async () => { await sleep(1); say('last'); register(() => say('late')) })`)
    expect(lines).toEqual(['last', 'late'])
  })

  test('C18 a pending one unregistered during the run is not called', async () => {
    const { lines } = await run(`${atexit}
      const victim = () => say('victim')
      register(victim); register(() => { say('first'); unregister(victim) })`)
    expect(lines).toEqual(['first'])
  })

  test('C19 one unregisters itself, then throws: reported, no crash', async () => {
    const { lines, stderr, report } = await run(`${atexit}
      register(() => say('next'))
      register(function self() { unregister(self); throw new Error('after unregistering') })`)
    expect(lines).toEqual(['next'])
    expect(stderr).toContain('Error: after unregistering')
    expect(report?.hooks[0]).toMatchObject({ name: 'self', status: 'failed' })
  })

  test('C20 in a re-entrant explicit run nothing runs twice', async () => {
    const { lines, code } = await run(`${atexit}
      register(() => say('b'))
      register(() => { say('a'); runExitFuncs() })
      await runExitFuncs()
      say('end')`)
    expect(lines).toEqual(['a', 'b', 'end'])
    expect(code).toBe(0)
  })

  test('C21 concurrent runs are the same promise', async () => {
    const { lines } = await run(`${atexit}
      register(async () => { await sleep(5); say('once') })
      const [a, b] = [runExitHooks(), runExitHooks()]
      say(String(a === b)); await a`)
    expect(lines).toEqual(['true', 'once'])
  })

  test('C22 it runs although nothing refers to the registering module after GC', async () => {
    const { lines } = await run(
      `${atexit}
      let target = { big: new Array(1000) }
      const gone = new WeakRef(target)
      ;(() => { const source = 'import { onExit } from ' + JSON.stringify(import.meta.resolve('exodos')) + '; onExit(() => console.log("still"))'
        return import('data:text/javascript,' + encodeURIComponent(source)) })()
      target = undefined
      await sleep(5); gc(); await sleep(5)
      say(String(gone.deref() === undefined))`,
      { nodeOptions: ['--expose-gc'] },
    )
    expect(lines).toEqual(['true', 'still'])
  })
})

describe('errors', () => {
  test('C23 one throws: the rest run', async () => {
    const { lines, report } = await run(`${atexit}
      register(() => say('rest')); register(() => { throw new Error('one') }); register(() => say('before'))`)
    expect(lines).toEqual(['before', 'rest'])
    expect(report?.hooks.map((hook) => hook.status)).toEqual(['ok', 'failed', 'ok'])
  })

  test.each([
    ['by default 0 becomes 1', '', 1],
    ['0 becomes failureCode', 'configure({ failureCode: 70 })', 70],
    ['failureCode 0 keeps 0', 'configure({ failureCode: 0 })', 0],
    ['another code stays', 'process.exitCode = 5', 5],
  ])('C25 one throws at a natural end: %s', async (_, setup, code) => {
    const ended = await run(`${prelude} ${setup}; onExit(() => { throw new Error('x') })`)
    expect(ended.code).toBe(code)
  })

  test('C26 process.exit(7) inside one: the rest run once, code 7', async () => {
    const source = (kind: string) => `${prelude}
      onExit(() => say('rest'))
      onExit(${kind} () => { ${kind && 'await sleep(1);'} process.exit(7) })
      onExit(() => say('before'))`
    for (const kind of ['', 'async']) {
      const ended = await run(source(kind))
      expect(ended).toMatchObject({ code: 7, lines: ['before', 'rest'], stderr: '' })
    }
  })

  test.each([
    ['undefined', 'undefined'],
    ['a frozen object', 'Object.freeze({ a: 1 })'],
    [
      'an error whose message getter throws',
      'Object.defineProperty(new Error("x"), "message", { get() { throw new Error("hostile") } })',
    ],
    [
      'an error whose stack getter throws',
      'Object.defineProperty(new Error("x"), "stack", { get() { throw new Error("hostile") } })',
    ],
    [
      'a proxy that refuses everything',
      'new Proxy({}, { get() { throw new Error("no") }, getPrototypeOf() { throw new Error("no") } })',
    ],
  ])('C27 one throws %s: reported, no crash', async (_, thrown) => {
    const ended = await run(`${prelude} onExit(() => say('rest')); onExit(() => { throw ${thrown} })`)
    expect(ended).toMatchObject({ code: 1, lines: ['rest'] })
    expect(ended.report?.hooks[0]).toMatchObject({ status: 'failed' })
    expect(ended.report?.hooks[0]?.error).toBeDefined()
  })

  test('C28 an async rejection counts as a throw', async () => {
    const ended = await run(`${prelude}
      onExit(() => say('rest')); onExit(async () => { await sleep(1); throw new Error('later') })`)
    expect(ended).toMatchObject({ code: 1, lines: ['rest'] })
    expect(ended.report?.hooks[0]).toMatchObject({ status: 'failed', error: { message: 'later' } })
  })

  test('C29 one never settles: stopped waiting at its limit, named in the report, the rest run', async () => {
    const ended = await run(`${prelude}
      onExit(() => say('rest'))
      onExit(() => new Promise(() => {}), { name: 'the hanging one', timeout: 50 })`)
    expect(ended).toMatchObject({ code: 1, lines: ['rest'] })
    expect(ended.report?.hooks[0]).toMatchObject({ name: 'the hanging one', status: 'overdue' })
    expect(ended.stderr).toContain('the hanging one')
  })
})

describe('ways out', () => {
  test('C31 exit(3): hooks once, code 3', async () => {
    const ended = await run(`${prelude}
      onExit(async () => { await sleep(1); say('hook') })
      await exit(3)
      say('never')`)
    expect(ended).toMatchObject({ code: 3, lines: ['hook'], stderr: '' })
  })

  const failing = {
    'an error with properties and a cause': `Object.assign(new TypeError('boom', { cause: new Error('inner') }), { code: 'EBOOM' })`,
    'an aggregate': `new AggregateError([new Error('one'), new Error('two')], 'several')`,
    'an error with a stack of its own': `Object.assign(new Error('x'), { stack: 'custom stack' })`,
    'an object': `{ a: 1 }`,
  }
  const throwers = {
    C32: (error: string) => `setTimeout(() => { throw ${error} }, 1)`,
    C33: (error: string) => `Promise.reject(${error})`,
  }
  for (const [number, leave] of Object.entries(throwers)) {
    const what = number === 'C32' ? 'uncaught error' : 'unhandled rejection'
    test.each(Object.entries(failing))(
      `${number} ${what}, %s: printed once, before the hooks, with Node's text, code 1`,
      async (_, error) => {
        const program = (hook: string) =>
          `import { writeSync } from 'node:fs'\n${hook}\nconst error = ${error}\n${leave('error')}`
        const hook = `import { onExit } from 'exodos'; onExit(async () => { writeSync(2, 'the hook\\n') }, { name: 'h' })`
        const [plain, ours] = await Promise.all([run(program(''), {}), run(program(hook), {})])
        expect(plain.code).toBe(1)
        expect(ours.code).toBe(1)
        const shown = ours.stderr.split('the hook\n')
        expect(shown).toHaveLength(2)
        expect(shown[1]).toBe('')
        // What Node shows above the error's own text is the line of source, which listeners aren't given.
        const text = (stderr: string) =>
          withoutDir(stderr)
            .replace(/^(?:file:|node:|\n)[\s\S]*?\n\s*\^+\n\n?/, '')
            .replace(/^Uncaught:\n|^\n/, '')
        expect(text(shown[0] as string)).toBe(text(plain.stderr))
      },
    )
  }

  test('C32 syntax errors are shown with the line they are on', async () => {
    const program = (
      hook: string,
    ) => `${hook}\nimport { writeFileSync } from 'node:fs'\nimport { createRequire } from 'node:module'
      writeFileSync(new URL('bad.cjs', import.meta.url), 'const a = ;')
      setTimeout(() => createRequire(import.meta.url)('./bad.cjs'), 1)`
    const [plain, ours] = await Promise.all([
      run(program('')),
      run(program(`import { onExit } from 'exodos'; onExit(async () => {})`)),
    ])
    const text = (stderr: string) => withoutDir(stderr).replaceAll(/:\d+:\d+/g, '')
    expect(text(ours.stderr)).toBe(text(plain.stderr))
    expect(ours.stderr).toContain('const a = ;')
  })

  test('C32 the application that handles its errors decides', async () => {
    const ended = await run(`${prelude}
      onExit(() => say('hook'))
      process.on('uncaughtException', (error) => say('app: ' + error.message))
      setTimeout(() => { throw new Error('one') }, 1)
      setTimeout(() => say('still alive'), 20)`)
    expect(ended).toMatchObject({ code: 0, lines: ['app: one', 'still alive', 'hook'], stderr: '' })
  })

  test('C32 a handler of the application that throws: hooks run, code 7', async () => {
    const ended = await run(`${prelude}
      onExit(async () => { await sleep(1); say('hook') })
      process.on('uncaughtException', () => { throw new Error('worse') })
      setTimeout(() => { throw new Error('one') }, 1)`)
    expect(ended).toMatchObject({ code: 7, lines: ['hook'] })
    expect(ended.stderr).toContain('Error: worse')
  })

  const dies = (signal: NodeJS.Signals) => async () => {
    const source = `${prelude} onExit(async () => { await sleep(5); say('hook') }); hold(); say('ready')`
    const ended = await runAndKill(source, signal)
    expect(ended).toMatchObject({ signal, code: null, lines: ['ready', 'hook'], stderr: '' })
    expect(ended.report).toMatchObject({ exit: { signal }, reasons: [{ kind: 'signal', signal }] })
  }
  test('C34 SIGTERM: hooks, death by SIGTERM', dies('SIGTERM'))
  test.each(['SIGHUP', 'SIGINT', 'SIGQUIT'] as const)('C35 %s: hooks, death by it', (signal) => dies(signal)())
  test.each(['SIGALRM', 'SIGXCPU', 'SIGUSR2', 'SIGVTALRM', 'SIGPWR', 'SIGIO', 'SIGSTKFLT'] as const)('C35 %s too', (signal) =>
    dies(signal)(),
  )

  test('C36 a second SIGTERM within 500 ms does not interrupt a hook', async () => {
    const program = start(`${prelude}
      onExit(async (ctx) => { say('begin'); await sleep(100); say('end ' + ctx.signal.aborted) }); hold(); say('ready')`)
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('begin')
    program.kill('SIGTERM')
    const ended = await program.ended
    expect(ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'begin', 'end false'], report: { forced: false } })
  })

  test('C37 a later one forces, a third kills at once', async () => {
    const program = start(`${prelude}
      onExit((ctx) => { say('begin'); setTimeout(() => say('later'), 600); ctx.signal.addEventListener('abort', () => { say('aborted'); setTimeout(() => say('latest'), 600) }); return new Promise(() => {}) }, { timeout: '9s' })
      configure({ grace: '60s' }); hold(); say('ready')`)
    await program.until('ready')
    program.kill('SIGTERM')
    await program.until('later')
    program.kill('SIGINT')
    await program.until('aborted')
    await program.until('latest')
    program.kill('SIGTERM')
    const ended = await program.ended
    expect(ended.signal).toBe('SIGTERM')
    expect(ended.report).toBeUndefined()
  })

  test('C38 a signal while modules are still loading: no hang', async () => {
    const program = start(`${prelude}
      onExit(async () => { await sleep(1); say('hook') })
      say('ready')
      await new Promise((resolve) => setTimeout(resolve, 60_000))`)
    await program.until('ready')
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'hook'] })
  })

  test('C40 process.reallyExit: what is synchronous ran, the rest was not started and is reported', async () => {
    const ended = await run(`${prelude}
      onExit(() => say('plain'), { name: 'plain' })
      onExit(() => say('sync'), { name: 'sync', sync: true })
      onExit(async () => { say('never'); await sleep(1) }, { name: 'stand-in', sync: () => say('stand-in') })
      onExit(async () => say('never'), { name: 'async' })
      onExit(() => { say('promised'); return sleep(1) }, { name: 'promised' })
      process.reallyExit(4)`)
    expect(ended).toMatchObject({ code: 4, lines: ['promised', 'stand-in', 'sync', 'plain'] })
    expect(ended.report?.hooks.map(({ name, status, started }) => [name, status, started])).toEqual([
      ['promised', 'cut', true],
      ['async', 'cut', false],
      ['stand-in', 'ok', true],
      ['sync', 'ok', true],
      ['plain', 'ok', true],
    ])
    expect(ended.stderr).toContain('cut: not started  release async')
  })
})

/** Two runs of one program differ in where it stands. */
function withoutDir(text: string): string {
  return text.replaceAll(/\/[^\s()]*\/p-[^/]*\//g, '').replaceAll(/program\.mjs:\d+:\d+/g, 'program.mjs')
}
