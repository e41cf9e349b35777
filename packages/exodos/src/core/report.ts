import type { Call } from './call.js'
import { type HookRecord, hookName, hookSite, type Phase, type Reason } from './hook.js'
import type { Run } from './run.js'

/** What happened on the way out, as data. Its JSON Schema is `exodos/report.schema.json`. */
export interface Report {
  schema: 1
  pid: number
  /** Of the worker thread; 0 for the main thread. */
  thread: number
  /** What began the run, and what came later. */
  reasons: ReportedReason[]
  /** Milliseconds since the epoch. */
  startedAt: number
  /** Milliseconds. */
  duration: number
  /** Milliseconds. */
  grace: number
  /** A second signal left only the reserve. */
  forced: boolean
  /** The event loop ended before the run did. */
  cut: boolean
  /** How the process leaves; absent for a run that doesn't. */
  exit?: { code?: number; signal?: string }
  phases: { name: Phase; begin: number; end: number }[]
  hooks: ReportedHook[]
  /** Errors that came up during the run beside the hooks' own results. */
  errors: { error: ReportedError; hook?: string }[]
  warnings: string[]
  /** Calls of `process.exit` that unwound their caller, and how many of these were caught by user code. */
  exitRequests: { made: number; caught: number }
}

export interface ReportedReason {
  kind: Reason['kind']
  code?: number
  signal?: string
  error?: ReportedError
}

export interface ReportedHook {
  name: string
  phase: Phase
  status: 'ok' | 'failed' | 'overdue' | 'cut'
  /** False for a hook that was cut before it began. */
  started: boolean
  /** Milliseconds since the run began. */
  begin: number
  end: number
  /** Of a scope's member: the scopes that it was in, the outermost first. */
  scope?: string[]
  /** Where it was registered, if that was captured. */
  site?: string
  error?: ReportedError
  /** What it said last with `ctx.status()`. */
  saying?: string
  /** What it gave to `ctx.result()`. */
  result?: unknown
  /** What its `state()` returned, asked when it was overdue or cut. */
  state?: unknown
  /** How it settled after all. */
  late?: 'ok' | 'failed'
}

export interface ReportedError {
  name: string
  message: string
  code?: string
  stack?: string
}

/** The report of a run, as far as the run alone knows it. Made only when somebody wants it: it is most of the cost of a clean exit. */
export function describeRun(run: Run): Omit<Report, 'pid' | 'thread' | 'exitRequests'> {
  return {
    schema: 1,
    reasons: run.reasons.map(describeReason),
    startedAt: run.startedAt,
    duration: round(run.budget.spent()),
    grace: run.budget.grace,
    forced: run.forced,
    cut: run.isCut,
    phases: run.phaseTimes.map(({ name, begin, end }) => ({ name, begin: round(begin), end: round(end) })),
    hooks: run.calls.map(describeCall),
    errors: run.errors.map(({ error, hook }) => ({ error: describeError(error), ...(hook === undefined ? {} : { hook }) })),
    warnings: [...run.warnings],
  }
}

function describeReason(reason: Reason): ReportedReason {
  const { kind, code, signal } = reason
  return {
    kind,
    ...(code === undefined ? {} : { code }),
    ...(signal === undefined ? {} : { signal }),
    ...('error' in reason ? { error: describeError(reason.error) } : {}),
  }
}

function describeCall(call: Call): ReportedHook {
  const { record, phase, started, statusText, late } = call
  const status = call.status === 'running' ? 'cut' : call.status
  const entry: ReportedHook = { name: hookName(record), phase, status, started, begin: round(call.begin), end: round(call.end) }
  const site = hookSite(record)
  const { path } = call.group
  if (path.length > 0) entry.scope = path
  if (site !== undefined) entry.site = site
  if (status === 'failed' || call.late === 'failed') entry.error = describeError(call.error)
  if (statusText !== undefined) entry.saying = statusText
  if (late !== undefined) entry.late = late
  if (call.result !== undefined) entry.result = asJson(() => call.result, 'result', LONGEST_RESULT)
  if (record.state && (status === 'overdue' || status === 'cut')) entry.state = call.state ?? stateOf(record)
  return entry
}

/** An error as data. Getters that throw, proxies and thrown non-errors all end in some text. */
export function describeError(error: unknown): ReportedError {
  const text = (key: string): string | undefined => {
    try {
      const value = (error as Record<string, unknown>)[key]
      return value === undefined ? undefined : String(value).slice(0, 10_000)
    } catch {
      return undefined
    }
  }
  const isObject = (typeof error === 'object' && error !== null) || typeof error === 'function'
  if (!isObject) return { name: typeof error, message: String(error) }
  const code = text('code')
  const stack = text('stack')
  return {
    name: text('name') ?? 'object',
    message: text('message') ?? '(no message)',
    ...(code === undefined ? {} : { code }),
    ...(stack === undefined ? {} : { stack }),
  }
}

/** Characters of JSON. A result may hold the report of a child process. */
const LONGEST_RESULT = 1_000_000
const LONGEST_STATE = 10_000

/** What the hook waits for, if it says so. */
export const stateOf = ({ state }: HookRecord): unknown => state && asJson(state, 'state()', LONGEST_STATE)

/** What a hook says of itself. What can't be said never breaks the report. */
function asJson(value: () => unknown, what: string, longest: number): unknown {
  try {
    const json = JSON.stringify(value()) ?? 'null'
    return json.length > longest ? `${json.slice(0, longest)}…` : JSON.parse(json)
  } catch (error) {
    return `${what} failed: ${describeError(error).message}`
  }
}

/** A terminal shows no more at once; the report has them all. */
const MOST_ROWS = 20

/** A summary for people: what did not end well, in a few lines; with `all`, the hooks that did, too. */
export function summarize(report: Report, all: boolean): string {
  const bad = report.hooks.filter((hook) => hook.status !== 'ok')
  const [first] = report.reasons
  const why = first?.signal ?? (first?.kind === 'exit' ? `exit(${first.code ?? ''})` : first?.kind)
  const rows = (all ? report.hooks : bad).map((hook) => {
    const status = hook.status === 'cut' && !hook.started ? 'cut: not started' : hook.status
    const time = hook.started ? ` ${seconds(hook.end - hook.begin)}` : ''
    const name = [...(hook.scope ?? []), hook.name].join(' › ')
    const details = [
      hook.saying && `status: ${hook.saying}`,
      hook.state !== undefined && `state: ${JSON.stringify(hook.state)}`,
      hook.late && `settled late (${hook.late})`,
      hook.site !== hook.name && hook.site && `registered at ${hook.site}`,
    ].filter(Boolean)
    return `  ${status}${time}  ${hook.phase} ${name}${details.length ? ` — ${details.join('; ')}` : ''}${stackOf(hook.error)}`
  })
  if (rows.length > MOST_ROWS) rows.splice(MOST_ROWS, rows.length, `  … and ${rows.length - MOST_ROWS} more`)
  for (const { error, hook } of report.errors.slice(0, MOST_ROWS))
    rows.push(`  error${hook ? `  from ${hook}` : ''}${stackOf(error)}`)
  for (const warning of report.warnings.slice(0, MOST_ROWS)) rows.push(`  warning  ${warning}`)
  const forced = report.forced ? ', forced' : ''
  const head = `exodos: ${why}: ${report.hooks.length} ${report.hooks.length === 1 ? 'hook' : 'hooks'} in ${seconds(report.duration)}${forced}, ${bad.length + report.errors.length} not ok`
  return `${[head, ...rows].join('\n')}\n`
}

/** The error below its line, with what its stack says. */
function stackOf(error: ReportedError | undefined): string {
  if (!error) return ''
  const text = error.stack?.includes(error.message) ? error.stack : `${error.name}: ${error.message}`
  return `\n${text}`.replaceAll('\n', '\n    ')
}

function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
