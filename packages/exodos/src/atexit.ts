/**
 * Python's `atexit`, with its names and rules, on every way out that exodos knows.
 *
 * @packageDocumentation
 */
import { invalid } from './core/errors.js'
import { isAsyncFunction, type Registration } from './core/hook.js'
import type { Report } from './core/report.js'
import { onExit, runExitHooks } from './index.js'

// biome-ignore lint/suspicious/noExplicitAny: any function may be registered
type AnyFunction = (...args: any[]) => unknown

const registered = new Map<AnyFunction, Set<Registration>>()

/**
 * Calls `fn(...args)` at exit, newest first. The same function may be registered several times. Returns `fn`.
 * Throws `ERR_EXODOS_INVALID_ARG` (a TypeError) for what is not a function.
 */
export function register<F extends AnyFunction>(fn: F, ...args: Parameters<F>): F {
  if (typeof fn !== 'function') throw invalid('register(fn)', 'a function', fn)
  const call = () => {
    forget(fn, registration)
    return fn(...args)
  }
  const registration = onExit(call, { ...(fn.name && { name: fn.name }), ...(isAsyncFunction(fn) && { sync: false }) })
  const same = registered.get(fn)
  if (same) same.add(registration)
  else registered.set(fn, new Set([registration]))
  return fn
}

/** Takes off every registration of `fn`; an unknown function is no error. */
export function unregister(fn: AnyFunction): void {
  for (const registration of registered.get(fn) ?? []) registration.cancel()
  registered.delete(fn)
}

/** Runs all exit hooks of the program now, without leaving; afterwards none is registered. An error in one never stops the next. */
export function runExitFuncs(): Promise<Report> {
  return runExitHooks()
}

/** Takes off all functions registered here, without calling them. */
export function clear(): void {
  for (const fn of [...registered.keys()]) unregister(fn)
}

/** How many functions are registered here and not yet called. */
export function ncallbacks(): number {
  let count = 0
  for (const same of registered.values()) count += same.size
  return count
}

function forget(fn: AnyFunction, registration: Registration): void {
  const same = registered.get(fn)
  same?.delete(registration)
  if (same?.size === 0) registered.delete(fn)
}
