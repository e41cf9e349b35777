import { afterEach, expect, test } from 'vitest'
import { configure, ExodosError, ExodosTypeError, type HookOptions, onExit, track } from '../src/index.js'
import { isolateExits } from '../src/testing.js'

let exits = isolateExits()
afterEach(() => {
  exits.restore()
  exits = isolateExits()
})

const hook = () => {}
const wrong = (options: object) => () => onExit(hook, options as HookOptions)

test.each<[string, () => unknown, RegExp]>([
  ['a number for a function', () => onExit(42 as never), /^onExit\(fn\): expected a function, got 42$/],
  ['a string for options', wrong('x' as never), /^onExit\(fn, options\): expected an object, got "x"$/],
  [
    'an unknown phase',
    wrong({ phase: 'cleanup' }),
    /^options\.phase: expected one of announce, drain, save, release, flush, got "cleanup"$/,
  ],
  ['a negative duration', wrong({ timeout: -1 }), /^options\.timeout: expected milliseconds ≥ 0 .*, got -1$/],
  ['a duration that can not be read', wrong({ timeout: '3 fortnights' }), /^options\.timeout: .*, got "3 fortnights"$/],
  ['NaN', wrong({ timeout: Number.NaN }), /^options\.timeout: .*, got NaN$/],
  ['a priority of text', wrong({ priority: 'high' }), /^options\.priority: expected a number, got "high"$/],
  [
    'after a number',
    wrong({ after: 3 }),
    /^options\.after: expected the name of a hook, a registration, a scope, or a list of them, got 3$/,
  ],
  ['a name that is none', wrong({ name: 7 }), /^options\.name: expected a string, got 7$/],
  ['sync of text', wrong({ sync: 'yes' }), /^options\.sync: expected a boolean or a function, got "yes"$/],
  ['state that is none', wrong({ state: {} }), /^options\.state: expected a function, got \[object Object\]$/],
  ['replace without a name', wrong({ replace: true, name: '' }), /^options\.replace: expected a boolean, together with a name/],
  ['track of no promise', () => track(3 as never), /^track\(promise\): expected a promise, got 3$/],
  ['a misspelt option', wrong({ phaze: 'drain' }), /^onExit\(fn, options\): expected one of name, .*, got "phaze"$/],
  ['track with null', () => track(Promise.resolve(), null as never), /^track\(promise, options\): expected an object, got null$/],
  ['configure of nothing', () => configure(null as never), /^configure\(options\): expected an object, got null$/],
  [
    'an unknown setting',
    () => configure({ graze: 1 } as never),
    /^configure\(options\): expected one of grace, .*, got "graze"$/,
  ],
  ['a grace period that can not be read', () => configure({ grace: 'soon' }), /^options\.grace: .*, got "soon"$/],
  [
    'a failure code out of range',
    () => configure({ failureCode: 256 }),
    /^options\.failureCode: expected an integer from 0 to 255, got 256$/,
  ],
  [
    'an unknown signal',
    () => configure({ signals: { SIGFOO: 'app' } }),
    /^options\.signals: expected one of SIGTERM, .*, got "SIGFOO"$/,
  ],
  [
    'an unknown policy',
    () => configure({ processExit: 'maybe' as never }),
    /^options\.processExit: expected "finish" or "cut", got "maybe"$/,
  ],
])('%s: a clear error at the call', async (_, call, message) => {
  let caught: unknown
  try {
    call()
  } catch (error) {
    caught = error
  }
  expect(caught).toBeInstanceOf(TypeError)
  expect(caught).toMatchObject({ code: 'ERR_EXODOS_INVALID_ARG', message: expect.stringMatching(message) })
  expect((await exits.run()).hooks).toEqual([])
})

test('a cycle is refused at the registration that closes it, by name, and nothing is lost', async () => {
  onExit(hook, { name: 'a', after: 'b' })
  onExit(hook, { name: 'b', after: ['c', 'elsewhere'] })
  let caught: unknown
  try {
    onExit(hook, { name: 'c', after: 'a' })
  } catch (error) {
    caught = error
  }
  expect(caught).toMatchObject({
    code: 'ERR_EXODOS_CYCLE',
    message: 'options.after: expected an order without a cycle, got c → after a → after b → after c',
  })
  expect((await exits.run()).hooks.map((entry) => entry.name)).toEqual(['b', 'a'])
})

test('a hook that comes after itself is a cycle', () => {
  expect(() => onExit(hook, { name: 'a', after: 'a' })).toThrow(/got a → after a$/)
})

test('a hook can not come after one of a later phase', () => {
  const later = onExit(hook, { phase: 'flush' })
  expect(() => onExit(hook, { after: later })).toThrow('options.after: expected a hook of phase release or an earlier one')
})

test('setting the same again is fine, something else is an error that names the place of the first', () => {
  configure({ grace: '3s', signals: { SIGHUP: 'app' } })
  configure({ grace: 3000, signals: { SIGHUP: 'app' }, failureCode: 2 })
  expect(() => configure({ grace: 4000 })).toThrow(
    /^configure: grace is 3000 since .*input\.test\.ts:\d+:\d+; expected no other value, got 4000$/,
  )
  expect(() => configure({ grace: 4000 })).toThrow(expect.objectContaining({ code: 'ERR_EXODOS_CONFIGURED' }))
})

test('registering after the end is an error that names the hook', async () => {
  await exits.run({ code: 0 })
  expect(() => onExit(hook, { name: 'late' })).toThrow(
    expect.objectContaining({ code: 'ERR_EXODOS_CLOSED', message: expect.stringContaining('late') }),
  )
})

test('errors are known by their code, whichever copy of exodos they come from', () => {
  const foreign = Object.assign(new Error('x'), { code: 'ERR_EXODOS_CLOSED' })
  const invalid = Object.assign(new TypeError('x'), { code: 'ERR_EXODOS_INVALID_ARG' })
  expect([foreign, invalid].map((error) => [error instanceof ExodosError, error instanceof ExodosTypeError])).toEqual([
    [true, false],
    [true, true],
  ])
  expect([new Error('x'), null, undefined, { code: 'ERR_EXODOS_X' }].some((value) => value instanceof ExodosError)).toBe(false)
})
