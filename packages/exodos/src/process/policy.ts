import { type Duration, parseDuration } from '../core/deadline.js'
import { checkOptions, ExodosError, invalid, show } from '../core/errors.js'
import type { Report } from '../core/report.js'
import { environment, realProcess } from './real.js'
import { SIGNALS } from './signals.js'

/** How the process leaves. Set by the application; libraries (`exodos/lib`) have no say in it. */
export interface Options {
  /** The most time a shutdown may take. Default 10 s, or `EXODOS_GRACE`; under PM2 nine tenths of its `kill_timeout`. */
  grace?: Duration
  /** `process.exit()` with asynchronous hooks: `finish` (default) lets them finish, `cut` keeps Node's behaviour. */
  processExit?: 'finish' | 'cut'
  /** What exit code 0 becomes when a hook failed or was overdue, 0 to 255. Default 1. */
  failureCode?: number
  /** `'app'` leaves a signal to the application; `'exit'` is the default for each that exodos knows. */
  signals?: Readonly<Record<string, 'exit' | 'app'>>
  /** When the IPC channel to the parent closes, or a parent that uses `exodos/tree` and has no channel to us dies. Default `'exit'`. */
  onParentLost?: 'exit' | 'stay'
  /**
   * A thread that says where a blocked event loop is stuck, and kills the process a second after the grace period.
   * `'auto'` (default) starts it when a run turns asynchronous, under `exodos run` before the first hook; `'always'`
   * before the first hook, for some 10 to 20 ms an exit; `'never'` saves its 10 to 18 MiB.
   */
  watchdog?: 'auto' | 'always' | 'never'
  /** Shows an error that nobody handled; `false` shows none. Default: Node's own text on stderr. */
  printError?: false | ((error: unknown) => void)
  /** Where the report goes: a file, or a function. Default `EXODOS_REPORT`, else nowhere. */
  report?: string | ((report: Report) => void)
}

export interface Policy extends Required<Omit<Options, 'grace' | 'report' | 'printError'>> {
  grace: number
  printError: Options['printError']
  report: Options['report']
}

export function defaultPolicy(): Policy {
  const { EXODOS_GRACE, EXODOS_REPORT } = environment()
  return {
    grace: EXODOS_GRACE ? graceFrom(EXODOS_GRACE) : underPm2(10_000),
    processExit: 'finish',
    failureCode: 1,
    signals: {},
    onParentLost: 'exit',
    watchdog: 'auto',
    printError: undefined,
    report: EXODOS_REPORT || undefined,
  }
}

/** PM2 kills what is still there after its `kill_timeout`, by default 1600 ms: a part of that is for leaving. */
function underPm2(grace: number): number {
  const { pm_id, kill_timeout } = environment()
  return pm_id === undefined ? grace : Math.min(grace, 0.9 * (Number(kill_timeout) || 1600))
}

/** The environment isn't the program's to mend: what can't be read warns, and the default holds. */
function graceFrom(text: string): number {
  try {
    return parseDuration(/^\d+$/.test(text) ? Number(text) : text, 'EXODOS_GRACE')
  } catch (error) {
    realProcess.emitWarning(`${(error as Error).message}; using 10s`, 'ExodosWarning')
    return 10_000
  }
}

const oneOf =
  (...values: unknown[]) =>
  (value: unknown, name: string) => {
    if (!values.includes(value)) throw invalid(name, values.map(show).join(' or '), value)
    return value
  }

const CHECKS: { [K in keyof Options]-?: (value: never, name: string) => unknown } = {
  grace: parseDuration,
  processExit: /* @__PURE__ */ oneOf('finish', 'cut'),
  onParentLost: /* @__PURE__ */ oneOf('exit', 'stay'),
  watchdog: /* @__PURE__ */ oneOf('auto', 'always', 'never'),
  failureCode(value: unknown, name) {
    if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 255)
      throw invalid(name, 'an integer from 0 to 255', value)
    return value
  },
  signals(value: Record<string, unknown>, name) {
    if (value === null || typeof value !== 'object') throw invalid(name, "an object such as { SIGHUP: 'app' }", value)
    for (const [signal, who] of Object.entries(value)) {
      if (!SIGNALS.includes(signal)) throw invalid(name, `one of ${SIGNALS.join(', ')}`, signal)
      oneOf('exit', 'app')(who, `${name}.${signal}`)
    }
    return value
  },
  printError(value: unknown, name) {
    if (value !== false && typeof value !== 'function') throw invalid(name, 'false or a function', value)
    return value
  },
  report(value: unknown, name) {
    if ((typeof value !== 'string' || !value) && typeof value !== 'function')
      throw invalid(name, 'the path of a file or a function', value)
    return value
  },
}

/** Checks options and merges them. `places` remembers where each was set: setting it differently again is an error. */
export function merge(policy: Policy, options: Options, places: Map<string, string>, place: string): Policy {
  checkOptions('configure(options)', options, Object.keys(CHECKS))
  const next: Record<string, unknown> = { ...policy }
  const set: string[] = []
  for (const [key, value] of Object.entries(options)) {
    if (value === undefined) continue
    const checked = CHECKS[key as keyof Options](value as never, `options.${key}`)
    const before = next[key]
    const same = before === checked || (key === 'signals' && JSON.stringify(before) === JSON.stringify(checked))
    if (places.has(key) && !same) {
      const message = `configure: ${key} is ${show(before)} since ${places.get(key)}; expected no other value, got ${show(checked)}`
      throw new ExodosError('ERR_EXODOS_CONFIGURED', message)
    }
    next[key] = checked
    set.push(key)
  }
  for (const key of set) if (!places.has(key)) places.set(key, place)
  return next as unknown as Policy
}
