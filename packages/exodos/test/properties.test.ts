import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runExitHooks } from '../src/index.js'
import { Model, programs, show } from './support/model.js'
import { Real } from './support/programs.js'

// EXODOS_TEST_RUNS=100000 for a long search; a failure tells the seed: EXODOS_TEST_SEED repeats it.
const numRuns = Number(process.env.EXODOS_TEST_RUNS ?? 300)
const seed = process.env.EXODOS_TEST_SEED
const options = { numRuns, ...(seed === undefined ? {} : { seed: Number(seed) }) }
const LONG = Math.max(30_000, numRuns * 100)

/** Not the fake clock: whatever hangs, hangs for ever. */
const inTime = (promise: Promise<unknown> | undefined) => {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('hangs')), 500)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

const unhandled: unknown[] = []
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

let real: Real | undefined
afterEach(() => real?.exits.restore())

describe('programs in which nothing takes time', () => {
  test(
    'every function is called once, in the order of the rules, in each life, and every call is told what the rules say',
    async () => {
      await fc.assert(
        fc.asyncProperty(programs(true), async (program) => {
          const model = new Model()
          for (let i = 0; i < 2; i++) model.life(program)
          real = new Real(model.skipped)
          try {
            for (const run of [runExitHooks, () => real?.exits.run()]) {
              real.begin()
              await inTime(real.steps(program, true))
              await inTime(run())
              real.log.push('life ends')
            }
          } catch (error) {
            real.log.push(String(error))
          } finally {
            real.exits.restore()
          }
          expect(real.log, show(program)).toEqual(model.log)
        }),
        options,
      )
    },
    LONG,
  )
})
