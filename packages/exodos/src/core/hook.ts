/// <reference lib="esnext.disposable" preserve="true" />
import { type Duration, parseDuration } from './deadline.js'
import { checkOptions, ExodosTypeError, invalid } from './errors.js'
import type { Scope } from './scope.js'
import type { ScopeState } from './scope-state.js'

/** The steps of the way out, in order. */
export const PHASES = ['announce', 'drain', 'save', 'release', 'flush'] as const
export type Phase = (typeof PHASES)[number]

/** Why the program leaves. */
export type ReasonKind = 'natural' | 'exit' | 'signal' | 'error' | 'parent' | 'worker' | 'explicit'

export interface Reason {
  readonly kind: ReasonKind
  /** The exit code that was asked for. */
  readonly code?: number
  readonly signal?: string
  /** The error that nobody handled. */
  readonly error?: unknown
}

export interface HookContext {
  /** The reason of this run; `first` is the one that began it (the two differ after a later signal). */
  readonly reason: Reason & { readonly first: Reason }
  /** Aborted when the hook is overdue, when the run is forced or cut, and from the start when no time is left. */
  readonly signal: AbortSignal
  /** Milliseconds this hook may still use. */
  remaining(): number
  /** Asks for `duration` from now; to be renewed before it ends. Returns the milliseconds granted, capped by the grace period, 0 when the hook is overdue already. */
  extend(duration: Duration): number
  /** What the hook is doing, shown when it hangs. */
  status(text: string): void
  /** What the hook has done, as data: put into the report as JSON. */
  result(value: unknown): void
}

export type HookFunction = (ctx: HookContext) => unknown

/** What a hook may come after: the name of others, a registration, or a scope. */
export type After = string | Registration | Scope

export interface HookOptions {
  /** Shown in the report, and what `after` of other hooks refers to. Default: the function's name, else the place of the call. */
  name?: string
  /** Default `release`. */
  phase?: Phase
  /** The most time this hook may take: milliseconds or `'2s'`, `'500ms'`, `'1m'`. Default: what its phase may still use, in `release` half of that. */
  timeout?: Duration
  /** Higher goes first; within one priority the newest goes first. Default 0. */
  priority?: number
  /**
   * Runs after these, by name, registration or scope, wherever they stand. A name may come to exist later. It is looked
   * up in the hook's own scope first, then in the scopes around that one and in what those hold.
   */
  after?: After | readonly After[]
  /** Where the event loop can no longer turn ('exit' event, `process.reallyExit`): `true` says that the hook is synchronous, a function stands in for an asynchronous one. */
  sync?: boolean | HookFunction
  /** Asked when the hook is overdue or cut: what is it waiting for? Put into the report as JSON. */
  state?: () => unknown
  /** Takes the place of the hooks of the same name (hot reload). */
  replace?: boolean
}

/** What `onExit` returns. Calling it, `cancel()` and disposing it mean: the hook never runs. */
export interface Registration {
  (): void
  cancel(): void
  /** Runs the hook now, once, and takes it off; returns what it returned, or undefined if it has already run or been cancelled. */
  run(): unknown
  [Symbol.dispose](): void
}

/** Where a record stands. */
export interface Place {
  /** Takes it off; false if it has run or been taken off before. */
  remove(): boolean
  /** It came when its phase had begun or was over: what was acquired with it is already being given back. */
  late?: boolean
}

/** A hook as data, in the form in which copies of exodos hand it to each other. Unknown fields are kept. */
export interface HookRecord {
  readonly fn: HookFunction
  readonly name: string
  readonly phase: Phase
  readonly priority: number
  readonly timeout: number | undefined
  readonly after: ReadonlyArray<string | HookRecord> | undefined
  readonly sync: boolean | HookFunction | undefined
  readonly state: (() => unknown) | undefined
  readonly replace: boolean
  /** Holds the place of the registration in its `stack`. */
  readonly site: { readonly stack?: string } | undefined
  /** The async context of the registration: one of Node's `AsyncResource`. */
  readonly context:
    | { runInAsyncScope<A extends unknown[]>(fn: (...args: A) => unknown, self: undefined, ...args: A): unknown }
    | undefined
  /** Registered by a library: no say in how the process exits. */
  readonly guest: boolean
  /** A scope stands here: its members are closed in the place of one hook. */
  readonly scope?: ScopeState
  /** Comes and goes, as requests do: others are likely to follow. */
  brief?: boolean
  /** Code of our own, which never keeps the event loop. */
  readonly isOwn?: boolean
  /** Made by `finalize`. */
  readonly finalizer?: boolean
  /** Where it stands in the registry of the coordinator that has it now. */
  place?: Place | undefined
  /** Left over from a test file that has ended: runs when the process leaves, in no explicit run. */
  orphan?: boolean
}

/** Marks what stands for a record: registrations and scopes. */
export const RECORD = 'exodos.record'

/** Of a resource that has registered itself. */
export const HAND_OVER = 'exodos.handOver'

/** What it is called, and how to take its registration back: for whoever owns the resource from now on. */
export interface HandOver {
  readonly name: string
  take(): void
}
const NONE: HookOptions = {}
/** What a member of a scope may say of itself. */
export const MEMBER_OPTIONS = ['name', 'timeout', 'priority', 'after', 'sync', 'state']
const OPTIONS = [...MEMBER_OPTIONS, 'phase', 'replace']
const ON_EXIT = { call: 'onExit(fn, options)', options: OPTIONS }

/**
 * Checks what a caller gave and makes the record of it. `face` is what was called, `defaults` what the options leave out
 * where the function itself doesn't tell. Throws `ERR_EXODOS_INVALID_ARG`.
 */
export function makeRecord(
  fn: HookFunction,
  options: HookOptions = NONE,
  guest: boolean,
  site: HookRecord['site'],
  context: HookRecord['context'],
  face = ON_EXIT,
  defaults: { name?: string; sync?: HookOptions['sync'] | undefined } = NONE as { name?: string },
): HookRecord {
  if (typeof fn !== 'function') throw invalid(face.call.replace(', options', ''), 'a function', fn)
  if (options === NONE) {
    // The common case first: 15 ns instead of 60 for the ten look-ups below.
    return {
      fn,
      name: defaults.name ?? ownName(fn),
      phase: 'release',
      priority: 0,
      timeout: undefined,
      after: undefined,
      sync: defaults.sync,
      state: undefined,
      replace: false,
      site,
      context,
      guest,
    }
  }
  checkOptions(face.call, options, face.options)
  const { name = defaults.name ?? ownName(fn), phase = 'release', timeout, priority = 0 } = options
  const { after, sync = defaults.sync, state, replace = false } = options
  if (typeof name !== 'string') throw invalid('options.name', 'a string', name)
  if (!PHASES.includes(phase)) throw invalid('options.phase', `one of ${PHASES.join(', ')}`, phase)
  if (typeof priority !== 'number' || Number.isNaN(priority)) throw invalid('options.priority', 'a number', priority)
  if (sync !== undefined && typeof sync !== 'boolean' && typeof sync !== 'function')
    throw invalid('options.sync', 'a boolean or a function', sync)
  if (state !== undefined && typeof state !== 'function') throw invalid('options.state', 'a function', state)
  if (typeof replace !== 'boolean' || (replace && !name))
    throw invalid('options.replace', 'a boolean, together with a name', replace)
  return {
    fn,
    name,
    phase,
    priority,
    timeout: timeout === undefined ? undefined : parseDuration(timeout, 'options.timeout'),
    after: after === undefined ? undefined : edges(after, phase),
    sync,
    state,
    replace,
    site,
    context,
    guest,
  }
}

/** A function's name, where it has one. */
export function ownName(fn: unknown): string {
  const name = typeof fn === 'function' ? (fn.name as unknown) : ''
  return typeof name === 'string' ? name : ''
}

function edges(after: NonNullable<HookOptions['after']>, phase: Phase): ReadonlyArray<string | HookRecord> {
  return (Array.isArray(after) ? after : [after]).map((target) => {
    if (typeof target === 'string') return target
    const record: HookRecord | undefined = (target as { [RECORD]?: HookRecord } | undefined)?.[RECORD]
    if (!record) throw invalid('options.after', 'the name of a hook, a registration, a scope, or a list of them', target)
    if (PHASES.indexOf(record.phase) > PHASES.indexOf(phase))
      throw new ExodosTypeError(
        `options.after: expected a hook of phase ${phase} or an earlier one, got ${hookName(record)} of phase ${record.phase}`,
      )
    return record
  })
}

/** Makes what `onExit` returns. It goes by the record, whose place changes when another copy takes over. */
export function makeRegistration(record: HookRecord): Registration {
  const cancel = () => {
    record.place?.remove()
  }
  const registration = cancel as unknown as Registration & { [RECORD]: HookRecord }
  registration.cancel = cancel
  registration.run = () => (record.place?.remove() ? enter(record, record.fn, BY_HAND) : undefined)
  registration[Symbol.dispose] = cancel
  registration[RECORD] = record
  return registration
}

/** Calls in the async context of the registration: a request's store never leaks into another module's cleanup. */
export function enter<A extends unknown[]>(record: HookRecord, fn: (...args: A) => unknown, ...args: A): unknown {
  return record.context ? record.context.runInAsyncScope(fn, undefined, ...args) : fn(...args)
}

const EXPLICIT: Reason = { kind: 'explicit' }

/** What a hook is given that its owner runs by hand: no run, so no limits. */
export const BY_HAND: HookContext = {
  reason: { ...EXPLICIT, first: EXPLICIT },
  get signal() {
    return new AbortController().signal
  },
  remaining: () => Number.POSITIVE_INFINITY,
  extend: (duration) => parseDuration(duration, 'extend(duration)'),
  status: () => {},
  result: () => {},
}

/** The hook's name; for a nameless function the place where it was registered. */
export function hookName(record: HookRecord): string {
  return record.name || hookSite(record) || '(anonymous)'
}

/** `file:line:column` of the registration, if it was captured. */
export function hookSite(record: HookRecord): string | undefined {
  return placeOf(record.site)
}

/** `file:line:column` of the first frame of a stack. */
export function placeOf(site: { readonly stack?: string } | undefined): string | undefined {
  try {
    const frame = site?.stack?.split('\n').find((line) => /^\s+at /.test(line))
    return frame?.replace(/^\s+at (?:.* \()?(?:file:\/\/)?|\)$/g, '')
  } catch {
    // The application formats stacks in its own way.
    return undefined
  }
}

/** Declared `async`: known not to finish before it returns. Works for functions of other realms. */
export function isAsyncFunction(fn: unknown): boolean {
  return Object.prototype.toString.call(fn) === '[object AsyncFunction]'
}
