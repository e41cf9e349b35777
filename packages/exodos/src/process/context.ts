import type { Call } from '../core/call.js'
import type { HookContext, HookFunction, HookRecord } from '../core/hook.js'
import { builtin, debugTopics } from './real.js'
import { isSupervised } from './supervised.js'

const { AsyncLocalStorage, AsyncResource } = builtin<typeof import('node:async_hooks')>('node:async_hooks')

const root = new AsyncResource('exodos')
const running = new AsyncLocalStorage<Call>()

/** The async context of a registration. A hook that runs another one by hand stays the hook whose code runs. */
class Captured extends AsyncResource {
  override runInAsyncScope<This, Result>(fn: (this: This, ...args: never[]) => Result, self?: This, ...args: unknown[]): Result {
    const call = running.getStore()
    if (!call) return super.runInAsyncScope(fn as (this: This, ...args: unknown[]) => Result, self, ...args)
    return super.runInAsyncScope(() => running.run(call, () => fn.apply(self as This, args as never[])))
  }
}

/** Remembers the async context of the caller. */
export function captureContext(): NonNullable<HookRecord['context']> {
  return new Captured('exodos') as NonNullable<HookRecord['context']>
}

/** Calls in the context of the program's start, whoever asked for it. */
export function inRootContext<T>(call: () => T): T {
  return root.runInAsyncScope(call)
}

/** Calls a hook such that `currentCall` finds it, also in what it awaits or starts. */
export function within(call: Call, fn: HookFunction, ctx: HookContext): unknown {
  return running.run(call, fn, ctx)
}

/** The hook whose code this is. */
export function currentCall(): Call | undefined {
  return running.getStore()
}

const wantsSites = debugTopics().length > 0 || isSupervised

/**
 * Remembers the place of a registration: `face` is the function that the user called. It costs a microsecond, so
 * it is done where the place is the hook's only name, and where somebody is debugging or supervising.
 */
export function captureSite(name: string, face: (...args: never[]) => unknown): HookRecord['site'] {
  if (name && !wantsSites) return undefined
  const limit = Error.stackTraceLimit
  const site: { stack?: string } = {}
  try {
    Error.stackTraceLimit = 1
    Error.captureStackTrace(site, face)
    Error.stackTraceLimit = limit
  } catch {
    // Frozen intrinsics: hooks without a name stay anonymous.
  }
  return site
}
