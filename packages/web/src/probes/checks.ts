import { performance } from 'node:perf_hooks'
import { clearTimeout, setTimeout } from 'node:timers'
import type { Duration } from 'exodos'
import { checkOptions, invalid, milliseconds } from '../input/input.js'

/** Fails by throwing, by rejecting, and by the answer `false`. `signal` is aborted when its time is up. */
export type CheckFunction = (context: { readonly signal: AbortSignal }) => unknown

export interface CheckOptions {
  check: CheckFunction
  /** The most time it may take. Default 1 s. */
  timeout?: Duration
  /** For how long a result, good or bad, is given again. Default 0. */
  cache?: Duration
}

export interface CheckResult {
  status: 'ok' | 'failed'
  /** How long it took. */
  ms: number
  /** The first line of what went wrong. */
  error?: string
}

/** The longest that a timer of Node's can wait. */
const LONGEST = 2 ** 31 - 1

/** One thing that readiness depends on. */
export class Check {
  /** Given to all who ask while it runs, and while its result is kept. */
  private result: Promise<CheckResult> | undefined

  constructor(
    private readonly check: CheckFunction,
    private readonly timeout: number,
    private readonly cache: number,
  ) {}

  /**
   * Never rejects. Of a check that doesn't heed its signal, the failure is given until it is back: it is not called twice at
   * a time.
   */
  ask(): Promise<CheckResult> {
    this.result ??= this.run()
    return this.result
  }

  private run(): Promise<CheckResult> {
    const began = performance.now()
    const ms = () => Math.round(performance.now() - began)
    const controller = new AbortController()
    return new Promise((resolve) => {
      let isLate = false
      const timer = setTimeout(() => {
        isLate = true
        const error = new Error(`no answer within ${this.timeout} ms`)
        resolve({ status: 'failed', ms: ms(), error: error.message })
        controller.abort(error)
      }, this.timeout).unref()
      const end = (result: CheckResult) => {
        clearTimeout(timer)
        if (isLate || this.cache === 0) this.result = undefined
        else setTimeout(() => (this.result = undefined), this.cache).unref()
        resolve(result)
      }
      const fail = (error: string) => end({ status: 'failed', ms: ms(), error })
      Promise.resolve({ signal: controller.signal })
        .then(this.check)
        .then(
          (answer) => (answer === false ? fail('it answered false') : end({ status: 'ok', ms: ms() })),
          (error) => fail(text(error)),
        )
    })
  }
}

/** Makes the checks of what a caller gave. Throws `ERR_EXODOS_INVALID_ARG`. */
export function makeChecks(given: Record<string, CheckFunction | CheckOptions>): Map<string, Check> {
  if (given === null || typeof given !== 'object') throw invalid('options.checks', 'an object', given)
  return new Map(
    Object.entries(given).map(([name, one]) => {
      const argument = `options.checks.${name}`
      if (typeof one !== 'function' && (one === null || typeof one !== 'object'))
        throw invalid(argument, 'a function, or an object with check', one)
      const options = typeof one === 'function' ? { check: one } : one
      checkOptions(argument, options, ['check', 'timeout', 'cache'])
      const { check, timeout = 1000, cache = 0 } = options
      if (typeof check !== 'function') throw invalid(`${argument}.check`, 'a function', check)
      const time = (value: Duration, option: string) => Math.min(LONGEST, milliseconds(value, `${argument}.${option}`))
      return [name, new Check(check, time(timeout, 'timeout'), time(cache, 'cache'))]
    }),
  )
}

/** The first line, and of an error its message alone: a stack is nobody's business. Never throws. */
function text(error: unknown): string {
  try {
    const { message, code, name } = Object(error) as { message?: unknown; code?: unknown; name?: unknown }
    // Node's error for a host of which no address answers has no message.
    const words = typeof message === 'string' ? message || code || name : typeof error === 'object' ? name || 'failed' : error
    return (String(words).split('\n', 1)[0] as string).slice(0, 200)
  } catch {
    return 'failed'
  }
}
