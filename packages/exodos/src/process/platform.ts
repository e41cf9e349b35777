import { summarize } from '../core/report.js'
import { areFaked, clock, ifLoopTurns, ifStillAlive } from './clock.js'
import type { Platform, Trigger, WayOut } from './coordinator.js'
import { isWorker, leave } from './leave.js'
import { naturalEnd } from './natural-end.js'
import { writeError, writeReport } from './output.js'
import { parent } from './parent.js'
import { printUncaught } from './print-error.js'
import { processExit } from './process-exit.js'
import { builtin, debugTopics, listenOnce, realProcess } from './real.js'
import { signals } from './signals.js'
import { stopRequest } from './stop-request.js'
import { announce, tellReport, wantsReport } from './supervised.js'
import { uncaught } from './uncaught.js'
import { watchRuns } from './watch.js'

/** To install and uninstall everything takes 0.1 ms: too much for each request of a server that has no other hooks. */
const LINGER = 1000

/** Words of `EXODOS_DEBUG` that ask for something else than the summary; the last two are those of @exodos/web. */
const OWN_TOPICS = ['order', 'drain', 'drain-json']

/** The thread that we are in: every way out of it, and how to complete each. `out` is asked for when something happens. */
export function makePlatform(out: WayOut): Platform {
  const worker = isWorker()
  const exits = processExit(out)
  const signal = signals(out)
  const triggers: Trigger[] = [naturalEnd(out), exits, uncaught(out)]
  // Signals and the parent's channel reach the main thread alone.
  const stop = worker ? stopRequest(out) : undefined
  triggers.push(...(stop ? [stop] : [signal, parent(out)]))
  const watching = watchRuns(out)
  if (!worker) announce()
  let installed: unknown
  let retiring = false
  const recheck = () => {
    if (installed) installAll()
  }
  let scheduled = false
  const recheckSoon = () => {
    if (scheduled) return
    scheduled = true
    Promise.resolve().then(recheck)
    // Once a turn of the loop: somebody who takes ours off as often as we put it on must not stop the program.
    ifLoopTurns(() => {
      scheduled = false
      recheck()
    })
  }
  // Others patch what we do when they add and remove their listeners: a moment later ours go on top again. And Node
  // asks for `process.emit` anew after the monitor event, so that what was patched in the same tick is mended, too.
  const watched = [
    ['newListener', recheckSoon],
    ['removeListener', recheckSoon],
    ['uncaughtExceptionMonitor', recheck],
  ] as const

  return {
    // What the watchdog has counted was not a time in which the process was stopped.
    clock: { ...clock, busy: () => clock.busy() + watching.counted() },
    pid: realProcess.pid,
    thread: worker ? builtin<typeof import('node:worker_threads')>('node:worker_threads').threadId : 0,
    get exitCode() {
      return realProcess.exitCode as number | undefined
    },
    set exitCode(code) {
      realProcess.exitCode = code
    },
    install() {
      // A new policy object, or the first hook of the application, or a patch that is not ours any more.
      const wanted = out.host ? out.policy : 'guest'
      if (installed === wanted && exits.intact()) return
      installed = wanted
      installAll()
    },
    uninstall,
    retire() {
      if (retiring) return
      retiring = true
      // With faked time it would never come.
      if (areFaked) return ifLoopTurns(retired)
      ifStillAlive(LINGER, retired)
    },
    tellOrder(makePlan) {
      if (!debugTopics().includes('order')) return
      const plan = makePlan()
      writeError(`exodos: what will be closed, in this order:\n${plan.text}\n${plan.mermaid}`)
    },
    watch: worker ? () => {} : watching.watch,
    deliver(makeReport, clean, { report: wanted }) {
      const debug = debugTopics().some((topic) => !OWN_TOPICS.includes(topic))
      try {
        stop?.report(makeReport)
        if (clean && !debug && !wanted && !wantsReport) return
        const report = makeReport()
        if (!clean || debug) writeError(summarize(report, debug))
        if (!report.exit) return
        if (typeof wanted === 'function') wanted(report)
        if (typeof wanted === 'string')
          writeReport(worker ? `${wanted}.${report.thread}` : wanted, `${JSON.stringify(report, null, 2)}\n`)
        if (wantsReport) tellReport(report)
      } catch (error) {
        writeError(`exodos: the report could not be delivered: ${error}\n`)
      }
    },
    leave: (outcome, limit, survived) =>
      leave(outcome, limit, { ...exits, raise: signal.raise, rethrow, print: (error) => out.printError(error) }, survived),
    reallyExit: exits.reallyExit,
    printError(error, { printError }) {
      if (printError === false) return
      try {
        if (printError) return printError(error)
      } catch {
        // A logger that fails leaves the error to us.
      }
      printUncaught(error)
    },
    warn: (message) => realProcess.emitWarning(message, 'ExodosWarning'),
  }

  function installAll(): void {
    for (const trigger of triggers) trigger.install()
    // Last, so that what we do ourselves isn't watched.
    if (out.host) for (const [event, listener] of watched) listenOnce(event, listener)
  }

  function retired(): void {
    retiring = false
    if (out.idle) uninstall()
  }

  function uninstall(): void {
    installed = undefined
    for (const [event, listener] of watched) realProcess.off(event, listener)
    for (const trigger of triggers) trigger.uninstall()
  }

  function rethrow(error: unknown): never {
    uninstall()
    throw error
  }
}
