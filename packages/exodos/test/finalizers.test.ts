import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { node, prelude, run } from './support/program.js'

/** Targets are kept, unless a program lets go of its own. */
const program = (source: string) => `${prelude}
import { finalize, runFinalizers, scope } from 'exodos'
import { setImmediate as turn } from 'node:timers/promises'
const kept = []
const target = () => { const object = {}; kept.push(object); return object }
const saying = (name, options) => finalize(target(), say, { args: [name], ...options })
const attempt = (fn) => { try { say('no error: ' + fn()) } catch (error) { say([error instanceof TypeError ? 'TypeError' : error.name, error.code, error.message].join(' | ')) } }
const collecting = async (isOver) => { for (let i = 0; i < 500 && !isOver(); i++) { await turn(); gc() } }
${source}`
const withGc = { nodeOptions: ['--expose-gc'] }

const INVALID = 'TypeError | ERR_EXODOS_INVALID_ARG | '
const refused = (what: string) => `${INVALID}${what}`

describe('finalizers', () => {
  test.each<[name: string, source: string, lines: string[]]>([
    [
      'C43 priorities 1, 0, −10 are called in that order',
      `saying('0'); saying('-10', { priority: -10 }); saying('1', { priority: 1 })`,
      ['1', '0', '-10'],
    ],
    ['C44 of equal priority the newest is called first', `for (const name of ['a', 'b', 'c']) saying(name)`, ['c', 'b', 'a']],
    ['C45 with atExit: false it is not called at exit', `saying('never', { atExit: false }); saying('at exit')`, ['at exit']],
    [
      'C47 without a target and not at exit it could never run: an error',
      `for (const nothing of [null, undefined]) attempt(() => finalize(nothing, say, { atExit: false }))
       finalize(null, say, { args: ['at exit alone'] })`,
      [
        refused('finalize(target): expected a target or atExit: true, got neither: it could never be called'),
        refused('finalize(target): expected a target or atExit: true, got neither: it could never be called'),
        'at exit alone',
      ],
    ],
    [
      'C48 a priority that is not an integer is a TypeError',
      `for (const priority of [1.5, NaN, Infinity, '1', null]) attempt(() => saying('never', { priority }))`,
      ['1.5', 'NaN', 'Infinity', '"1"', 'null'].map((got) => refused(`options.priority: expected an integer, got ${got}`)),
    ],
    [
      'C49 called by hand it returns its result, and undefined when called again',
      `const sum = finalize(target(), (a, b) => a + b, { args: [1, 2] }); say(String(sum.call())); say(String(sum.call()))`,
      ['3', 'undefined'],
    ],
    [
      'C50 detached twice: no error, not alive',
      `const f = saying('never'); f.detach(); say(String(f.detach())); say(String(f.alive))`,
      ['undefined', 'false'],
    ],
    [
      'C51 after the call it is not alive, nor during it',
      `const f = finalize(target(), () => say('during ' + f.alive)); say(String(f.alive)); f.call(); say(String(f.alive))`,
      ['true', 'during false', 'false'],
    ],
    [
      'C52 called by hand and throwing: the error propagates, it is dead afterwards',
      `const f = finalize(target(), () => { say('called'); throw new RangeError('mine') })
       attempt(() => f.call()); say(String(f.alive)); say(String(f.peek()))`,
      ['called', 'RangeError |  | mine', 'false', 'undefined'],
    ],
    [
      'C53 a run with a minimum priority leaves lower ones for later',
      `saying('-1', { priority: -1 }); saying('0'); saying('5', { priority: 5 })
       await runFinalizers({ minPriority: 0 }); say('end')`,
      ['5', '0', 'end', '-1'],
    ],
    [
      'C54 registered late in a full run it runs',
      `finalize(target(), async () => { await sleep(1); saying('late') })
       await runFinalizers(); say('end')`,
      ['late', 'end'],
    ],
    [
      'C56 one detaches another: it is skipped',
      `const f = saying('never'); saying('rest', { priority: -1 }); finalize(target(), () => void f.detach())`,
      ['rest'],
    ],
    [
      'C56 one detaches another in runFinalizers: it is skipped',
      `const f = saying('never'); saying('rest', { priority: -1 }); finalize(target(), () => void f.detach()); await runFinalizers(); say('end')`,
      ['rest', 'end'],
    ],
    [
      'C58 detach returns target, callback and args, uncalled',
      `const [object, args] = [target(), ['never']]
       const info = finalize(object, say, { args }).detach()
       say(String(info.target === object && info.callback === say)); say(JSON.stringify(info.args))`,
      ['true', '["never"]'],
    ],
    [
      'C59 peek changes nothing',
      `const object = target()
       const f = finalize(object, say, { args: ['at exit'] })
       for (const info of [f.peek(), f.peek()]) say([info.target === object, info.callback === say, info.args, f.alive].join(' '))`,
      ['true true at exit true', 'true true at exit true', 'at exit'],
    ],
    [
      'C61 one made inside a finalizer runs next',
      `saying('old'); finalize(target(), () => { say('new'); saying('made inside') })`,
      ['new', 'made inside', 'old'],
    ],
    [
      'C61 one made inside a finalizer runs next in runFinalizers, too',
      `saying('old'); finalize(target(), () => { say('new'); saying('made inside') }); await runFinalizers(); say('end')`,
      ['new', 'made inside', 'old', 'end'],
    ],
    [
      'args that hold the target are refused, as is the target as callback',
      `const object = target()
       attempt(() => finalize(object, say, { args: [1, object] }))
       const call = () => say('never')
       attempt(() => finalize(call, call))`,
      Array(2).fill(refused('options.args: expected values without the target, got the target: it would never be collected')),
    ],
    [
      'bad input is refused',
      `attempt(() => finalize(1, say)); attempt(() => finalize({}, 1)); attempt(() => saying('', { args: 1 }))
       attempt(() => saying('', { atExit: 1 })); attempt(() => saying('', { name: 1 })); attempt(() => saying('', { prio: 1 }))
       await runFinalizers({ minPriority: '1' }).catch((error) => attempt(() => { throw error }))`,
      [
        'finalize(target): expected an object, a function, or null for at exit alone, got 1',
        'finalize(target, callback): expected a function, got 1',
        'options.args: expected an array, got 1',
        'options.atExit: expected a boolean, got 1',
        'options.name: expected a string, got 1',
        'finalize(target, callback, options): expected one of args, priority, atExit, name, got "prio"',
        'options.minPriority: expected a number, got "1"',
      ].map(refused),
    ],
    [
      'finalizers, hooks and scopes share one order',
      `onExit(() => say('hook 1')); saying('finalizer 1'); scope().defer(() => say('scope')); saying('finalizer 2')
       onExit(() => say('hook 2')); saying('high', { priority: 2 }); onExit(() => say('highest'), { priority: 3 }); saying('low', { priority: -1 })`,
      ['highest', 'high', 'hook 2', 'finalizer 2', 'scope', 'finalizer 1', 'hook 1', 'low'],
    ],
    [
      'runFinalizers leaves hooks and scopes alone',
      `onExit(() => say('hook')); saying('finalizer'); scope().defer(() => say('scope')); await runFinalizers(); say('end')`,
      ['finalizer', 'end', 'scope', 'hook'],
    ],
    [
      'concurrent runs call each once',
      `for (let i = 0; i < 4; i++) finalize(target(), async () => { say('begin ' + i); await sleep(1) })
       await Promise.all([runFinalizers(), runFinalizers()]); say('end')`,
      ['begin 3', 'begin 2', 'begin 1', 'begin 0', 'end'],
    ],
    [
      'runFinalizers inside a hook calls each once',
      `saying('old'); onExit(async () => { say('hook'); await runFinalizers(); say('hook ends') }); saying('new')`,
      ['new', 'hook', 'old', 'hook ends'],
    ],
    [
      'runFinalizers during a run calls each once',
      `saying('old'); onExit(() => sleep(5).then(() => say('hook ends'))); saying('new')
       const run = runExitHooks(); await runFinalizers(); say('finalizers end'); await run; say('end')`,
      ['new', 'old', 'finalizers end', 'hook ends', 'end'],
    ],
    [
      'runFinalizers called by a finalizer does not call it again',
      `saying('old'); finalize(target(), async () => { say('begins'); await runFinalizers(); say('ends') }); await runFinalizers(); say('end')`,
      ['begins', 'old', 'ends', 'end'],
    ],
    [
      'an error in runFinalizers stops none, and comes at the end',
      `saying('rest'); finalize(target(), () => { throw new RangeError('one') })
       await runFinalizers().catch(({ message }) => say('rejected: ' + message))
       for (const n of [1, 2]) finalize(target(), async () => { throw new RangeError('error ' + n) })
       await runFinalizers().catch(({ name, errors }) => say(name + ': ' + errors.map(({ message }) => message)))`,
      ['rest', 'rejected: one', 'SuppressedError: error 2,error 1'],
    ],
  ])('%s', async (_, source, lines) => {
    expect(await run(program(source))).toMatchObject({ lines, code: 0, stderr: '' })
  })

  test.each(['process.exit(7)', 'exit(7).catch(() => {})'])('C55 %s inside a finalizer: the rest run, code 7', async (leave) => {
    for (const kind of ['', 'async']) {
      const source = `saying('rest'); finalize(target(), ${kind} () => { ${kind && 'await sleep(1);'} say('leaves'); ${leave} }); saying('before')`
      expect(await run(program(source))).toMatchObject({ lines: ['before', 'leaves', 'rest'], code: 7, stderr: '' })
    }
  })

  test('C55 process.exit inside a finalizer that runFinalizers calls: the rest run once', async () => {
    const source = `saying('rest'); finalize(target(), () => { say('leaves'); process.exit(7) }); await runFinalizers(); say('never')`
    const { lines, code } = await run(program(source))
    expect(lines.filter((line) => line !== 'never')).toEqual(['leaves', 'rest'])
    expect(code).toBe(7)
  })

  test.each([
    ['worker thread', `new Worker(new URL(import.meta.url))`],
    ['child process', `fork(new URL(import.meta.url).pathname, ['child'])`],
  ])('C57 it is not called in a %s', async (_, begin) => {
    const { lines, code } = await run(
      program(`
      import { fork } from 'node:child_process'
      import { Worker, isMainThread, parentPort } from 'node:worker_threads'
      const isFirst = isMainThread && process.argv[2] !== 'child'
      const place = isFirst ? 'first' : 'second'
      if (isFirst) {
        const object = {}
        const finalizer = finalize(object, () => say('made in first, called in ' + place))
        kept.push(object)
        const other = ${begin}
        if (other.postMessage) other.postMessage(finalizer)
        else other.send(finalizer)
        await new Promise((resolve) => other.once('exit', resolve))
        say('second has ended')
      } else {
        saying('made in second, called in ' + place)
        await new Promise((resolve) => (parentPort ?? process).once('message', (message) => { say('sent over: ' + typeof message.call); resolve() }))
        if (process.connected) process.disconnect()
        await runFinalizers()
        saying('made in second, called at its end')
      }`),
    )
    expect(lines).toEqual([
      'sent over: undefined',
      'made in second, called in second',
      'made in second, called at its end',
      'second has ended',
      'made in first, called in first',
    ])
    expect(code).toBe(0)
  })

  test("where the loop can't turn a synchronous callback is called, an async one is not started", async () => {
    const ended = await run(
      program(`saying('plain'); finalize(target(), async function later() { say('never') }); process.reallyExit(4)`),
    )
    expect(ended).toMatchObject({ code: 4, lines: ['plain'] })
    expect(ended.report?.hooks[0]).toMatchObject({ name: 'later', status: 'cut', started: false })
  })

  test('an exit waits for what runFinalizers has begun', async () => {
    const source = `finalize(target(), async () => { say('begins'); await sleep(20); say('ends') }); runFinalizers(); await exit(0)`
    expect(await run(program(source))).toMatchObject({ lines: ['begins', 'ends'], code: 0 })
  })
})

describe('collection', () => {
  test('nobody keeps handle or callback: it is called when its target is collected', async () => {
    const source = `
      let called = false
      ;(() => void finalize({}, (name) => { say(name); called = true }, { args: ['collected'] }))()
      await collecting(() => called)
      say('end')`
    expect(await run(program(source), withGc)).toMatchObject({ lines: ['collected', 'end'], code: 0 })
  })

  test.each([true, false])('of 10,000 with atExit: %s none is lost and none called twice', async (atExit) => {
    const { lines, code } = await run(
      program(`
      const calls = new Uint8Array(10_000)
      let called = 0
      const callback = (i) => { calls[i]++; called++ }
      ;(() => { for (let i = 0; i < 10_000; i++) finalize({ i }, callback, { args: [i], atExit: ${atExit} }) })()
      await collecting(() => called >= 10_000)
      say('collected ' + called)
      onExit(() => say('once ' + calls.filter((times) => times === 1).length), { phase: 'flush' })`),
      withGc,
    )
    expect(lines).toEqual(['collected 10000', 'once 10000'])
    expect(code).toBe(0)
  })

  const oneOfThreeThrows = `
    let called = 0
    const callback = (i) => { called++; if (i === 1) throw new Error('at collection') }
    ;(() => { for (let i = 0; i < 3; i++) finalize({ i }, callback, { args: [i] }) })()`

  test('an error at collection is an uncaught one, and the others are still called', async () => {
    const source = `process.on('uncaughtException', ({ message }) => say('uncaught: ' + message))
      ${oneOfThreeThrows}
      await collecting(() => called === 3)
      await turn()
      say('called ' + called)`
    expect(await run(program(source), withGc)).toMatchObject({ lines: ['uncaught: at collection', 'called 3'], code: 0 })
  })

  test('an error at collection that nobody handles ends the process, after its hooks', async () => {
    const source = `onExit(() => say('called ' + called))
      ${oneOfThreeThrows}
      hold()
      await collecting(() => false)
      say('never')`
    const ended = await run(program(source), withGc)
    expect(ended).toMatchObject({ lines: ['called 3'], code: 1 })
    expect(ended.stderr.match(/Error: at collection/g)).toHaveLength(1)
  })

  test.each([true, false])(
    'an async callback at collection is waited for by an exit that follows, atExit: %s',
    async (atExit) => {
      const source = `
      let called = false
      ;(() => void finalize({}, async () => { called = true; say('begins'); await sleep(20); say('ends') }, { atExit: ${atExit} }))()
      await collecting(() => called)
      await exit(0)`
      expect(await run(program(source), withGc)).toMatchObject({ lines: ['begins', 'ends'], code: 0 })
    },
  )

  test('called by hand or detached it is not called again when its target is collected', async () => {
    const source = `
      let collected = false
      ;(() => {
        const object = {}
        finalize(object, say, { args: ['by hand'] }).call()
        finalize(object, say, { args: ['never'] }).detach()
        finalize(object, () => { collected = true })
      })()
      await collecting(() => collected)
      await turn()
      say('end ' + collected)`
    expect(await run(program(source), withGc)).toMatchObject({ lines: ['by hand', 'end true'], code: 0 })
  })

  test('what is refused is not called at collection either', async () => {
    const source = `
      let collected = false
      ;(() => {
        const object = {}
        try { finalize(object, () => say('refused, but called'), { name: 1 }) } catch { say('refused') }
        finalize(object, () => { collected = true })
      })()
      await collecting(() => collected)
      await turn()
      say('end ' + collected)`
    expect(await run(program(source), withGc)).toMatchObject({ lines: ['refused', 'end true'], code: 0 })
  })

  test('of 100,000 none is lost, none called twice, and the heap stays as it is', async () => {
    const soak = fileURLToPath(new URL('../../../bench/finalizers-soak.mjs', import.meta.url))
    const { stdout } = await promisify(execFile)(node, ['--expose-gc', soak, '100000'], { env: { PATH: process.env.PATH } })
    const { count, lost, twice, slopeMBPer100k } = JSON.parse(stdout)
    expect({ count, lost, twice }).toEqual({ count: 100_000, lost: 0, twice: 0 })
    expect(slopeMBPer100k).toBeLessThan(1)
  })
})
