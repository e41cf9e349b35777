import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hangUp } from './wire.js'

/** A name that is a claim, and what shows it. */
export type Case = [name: string, show: () => Promise<void>]

/** Milliseconds of one of them. */
const MOST = 20_000

/**
 * Tests that mostly wait: they are run beside each other before the first is asked for its outcome, as `start()` ends
 * every program after each test.
 */
export function together(name: string, cases: Case[], atOnce = 6): void {
  describe(name, () => {
    const outcomes = new Map<string, { error?: unknown }>()
    // biome-ignore lint/correctness/noEmptyPattern: Vitest reads the names of what is asked for here.
    beforeAll(async ({}, suite) => {
      const asked = new Set(suite.tasks.filter(({ mode }) => mode === 'run').map((task) => task.name))
      const waiting = cases.filter(([title]) => asked.has(title))
      const next = async (): Promise<void> => {
        const one = waiting.shift()
        if (!one) return
        const [title, show] = one
        const late = wait(MOST, undefined, { ref: false }).then(() => Promise.reject(new Error(`not over after ${MOST} ms`)))
        const outcome = await Promise.race([show(), late]).then(
          () => ({}),
          (error) => ({ error }),
        )
        outcomes.set(title, outcome)
        return next()
      }
      await Promise.all(Array.from({ length: atOnce }, next))
    }, 120_000)
    afterAll(hangUp)
    for (const [title] of cases) {
      test(title, () => {
        const outcome = outcomes.get(title)
        if (outcome && 'error' in outcome) throw outcome.error
        expect(outcome).toEqual({})
      })
    }
  })
}
