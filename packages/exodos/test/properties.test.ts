import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runExitHooks } from '../src/index.js'
import { type Item, Model, type Program, programs, show } from './support/model.js'
import { type Event, Real, told } from './support/programs.js'

// A long search: EXODOS_TEST_RUNS=100000. A failure tells its seed: EXODOS_TEST_SEED repeats it.
const numRuns = Number(process.env.EXODOS_TEST_RUNS ?? 300)
const seed = process.env.EXODOS_TEST_SEED
const options = { numRuns, ...(seed === undefined ? {} : { seed: Number(seed) }) }
const LONG = Math.max(30_000, numRuns * 100)

/** Not the fake clock: whatever hangs, hangs for ever. */
const inTime = <T>(promise: Promise<T>): Promise<T> => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error('hangs')), 2000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

// What is cleaned up at once fails visibly, as nobody has its promise.
let unhandled: unknown[] = []
let listeners: NodeJS.UnhandledRejectionListener[] = []
beforeEach(() => {
  listeners = process.listeners('unhandledRejection')
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', (error) => unhandled.push(error))
})
afterEach(() => {
  process.removeAllListeners('unhandledRejection')
  for (const listener of listeners) process.on('unhandledRejection', listener)
})

describe('programs in which nothing takes time', () => {
  const claim = 'every function is called once, in the order of the rules, and every call is told what the rules say'
  test(
    `${claim}, in each life`,
    () =>
      fc.assert(
        fc.asyncProperty(programs(true), async (program) => {
          const model = new Model()
          for (let i = 0; i < 2; i++) model.life(program)
          unhandled = []
          const real = new Real(model.skipped)
          try {
            for (const run of [runExitHooks, () => real.exits.run()]) {
              real.begin()
              await inTime(real.steps(program, true))
              await inTime(run())
              real.log.push('life ends')
            }
            await turn()
          } catch (error) {
            real.log.push(String(error))
          } finally {
            real.exits.restore()
          }
          expect(real.log, show(program)).toEqual(model.log)
          // In which order they come is of no meaning.
          expect(unhandled.map(told).sort(), show(program)).toEqual(model.unhandled.sort())
        }),
        options,
      ),
    LONG,
  )
})

describe('programs that take time', () => {
  test(
    'every function is called once, edges and scopes hold, and all is over in time',
    () =>
      fc.assert(
        fc.asyncProperty(programs(false), async (program) => {
          const real = new Real()
          const wrong: string[] = []
          try {
            const leaves = program.items.some(({ steps }) => steps.some((step) => 'verb' in step && step.verb === 'exit'))
            for (const run of leaves ? [() => real.exits.run()] : [runExitHooks, () => real.exits.run()]) {
              real.begin()
              await inTime(real.steps(program, false))
              const start = real.events.length
              const running = run()
              await real.clock.advance('1h')
              const { duration } = await inTime(running)
              if (duration > 10_000 + 50) wrong.push(`took ${duration} ms`)
              wrong.push(...violations(program, real, start))
            }
          } catch (error) {
            wrong.push(String((error as Error).stack))
          } finally {
            real.exits.restore()
          }
          expect(wrong, show(program) + real.events.map((event) => JSON.stringify(event)).join('\n')).toEqual([])
        }),
        options,
      ),
    LONG,
  )
})

/** What of the rules hasn't held in a life. `end`: so many events were before it was asked to run. */
function violations({ items }: Program, { events, closings }: Real, end: number): string[] {
  const begun = events.findIndex(({ inRun }) => inRun)
  const start = begun < 0 ? end : Math.min(begun, end)
  const wrong: string[] = []
  const find = (id: number, ...what: Event['what'][]) => events.findIndex((event) => event.id === id && what.includes(event.what))
  const has = (what: Event['what']) => events.some((event) => event.what === what)
  const ancestors = (item: Item): Item[] => {
    const outer = items[item.in - 1]
    return outer ? [outer, ...ancestors(outer)] : []
  }

  for (const { id, kind } of items.filter((item) => find(item.id, 'add') >= 0)) {
    const calls = events.filter((event) => event.what === 'call' && event.id === id).length
    const cancelled = find(id, 'cancel')
    const isCancelled = cancelled >= 0 && !events.slice(0, cancelled).some((event) => event.what === 'call' && event.id === id)
    if (kind !== 'scope' && calls !== (isCancelled ? 0 : 1)) wrong.push(`${id} is called ${calls} times`)
  }

  const hangs = items.some(({ how, id }) => how === 'hang' && find(id, 'call') >= 0)
  for (const { id, result } of closings) {
    if (result === undefined && !hangs) wrong.push(`closing ${id} by hand hangs`)
    const failed = result?.match(/\d+/g) ?? []
    for (const one of failed) if (!/throw|reject/.test((items[Number(one) - 1] as Item).how)) wrong.push(`${one} has not failed`)
  }

  // From here on, of what was there before the run, and was called by it, with time left.
  const isOrderly = !has('force') && !events.some(({ isLast }) => isLast) && !has('use')
  // These are told by nobody that they are given up.
  const isTimed = ({ kind, how }: Item) => kind === 'hook' || kind === 'adopt' || how === 'sync' || how === 'throw'
  const isFree = (item: Item) => ![item, ...ancestors(item)].some(({ id }) => find(id, 'close') >= 0)
  const leaves = items.filter((item) => {
    const added = find(item.id, 'add')
    const called = events[find(item.id, 'call')]
    return (
      isTimed(item) &&
      added >= 0 &&
      added < start &&
      find(item.id, 'hand') < 0 &&
      item.kind !== 'scope' &&
      called?.inRun &&
      isFree(item)
    )
  })
  if (!isOrderly) return wrong
  const called = ({ id }: Item) => find(id, 'call')
  const over = ({ id, how }: Item) => (how === 'hang' ? find(id, 'up') : find(id, 'up', 'over'))
  const within = (item: Item, id: number) => item.id === id || ancestors(item).some((outer) => outer.id === id)

  for (const a of leaves) {
    for (const b of leaves) {
      if (a === b || a.in !== b.in || a.phase !== b.phase) continue
      const isFirst = a.priority > b.priority || (a.priority === b.priority && find(a.id, 'add') > find(b.id, 'add'))
      const areFree = a.after.length === 0 && b.after.length === 0
      if (areFree && isFirst && called(a) > called(b)) wrong.push(`${b.id} is called before ${a.id}`)
      const isParallel = a.in === 0 ? a.phase !== 'release' : items[a.in - 1]?.parallel
      if (areFree && isParallel && events[called(a)]?.at !== events[called(b)]?.at) wrong.push(`${a.id} and ${b.id} begin apart`)
      if (!has('cancel') && !has('hand') && a.after.includes(b.name) && called(a) < over(b)) wrong.push(`${a.id} before ${b.id}`)
    }
    // An edge of a scope is one of all that is in it.
    const edges = [a, ...ancestors(a)].flatMap((from) =>
      from.after.filter((to) => find(Number(to), 'add') < find(from.id, 'add')),
    )
    for (const to of edges.filter((target) => typeof target === 'number' && find(target, 'add') >= 0))
      for (const b of leaves)
        if (!has('cancel') && !has('hand') && within(b, Number(to)) && called(a) < over(b)) wrong.push(`${a.id} before ${b.id}`)
  }

  for (const scope of items.filter(({ kind }) => kind === 'scope')) {
    const outer = items[scope.in - 1]
    if (outer?.parallel) continue
    const inside = leaves.filter((leaf) => within(leaf, scope.id))
    const [from, to] = [Math.min(...inside.map(called)), Math.max(...inside.map(over))]
    for (const leaf of leaves) {
      const isBeside = leaf.phase === 'release' && (outer ? within(leaf, outer.id) : true) && !inside.includes(leaf)
      if (isBeside && called(leaf) > from && called(leaf) < to) wrong.push(`${leaf.id} is called amid scope ${scope.id}`)
    }
  }
  return wrong
}
