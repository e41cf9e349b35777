import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createPool, type EngineName, type Pool, type PoolOptions, type RunOptions } from '@exodos/pool'
import { afterAll } from 'vitest'

const stateDir = mkdtempSync(join(tmpdir(), 'exodos-pool-'))
process.env.EXODOS_STATE_DIR = stateDir
afterAll(() => rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 }))

export const engines: EngineName[] = ['threads', 'processes', 'inline']
/** Whose workers can be ended. */
export const mortal: EngineName[] = ['threads', 'processes']

export type AnyPool = Pool<Record<string, (input: unknown) => unknown>>
export type AnyOptions = PoolOptions & { data?: unknown }

export const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url)

/** A pool of `fixtures/tasks.mjs`, whose tasks that never end are not waited for. */
export const makePool = (options: AnyOptions = {}, file = 'tasks.mjs'): AnyPool =>
  createPool(fixture(file), { size: 1, ...options, timeout: { drain: 300, abort: 100, ...options.timeout } })

/** Resolves, with its promise, once a task that says so has begun. */
export const begun = (pool: AnyPool, task: string, options: RunOptions = {}): Promise<{ result: Promise<unknown> }> =>
  new Promise((resolve, reject) => {
    const result = pool.run(task, undefined, { ...options, onProgress: () => resolve({ result }) })
    result.catch(reject)
  })

/** Runs a task so often that it is known to be quick: then it is sent ahead with others. */
export async function warmUp(pool: AnyPool, task: string): Promise<void> {
  for (let round = 0; round < 100; round++) await pool.run(task, {})
}

/** What a promise rejects with. */
export const failureOf = (promise: Promise<unknown>): Promise<Error & Record<string, unknown>> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error) => error,
  )
