import type { Trigger, WayOut } from './coordinator.js'
import { emitPatch, type Interceptor, interceptors } from './emit.js'
import { isExitRequest, surfaced } from './exit-request.js'
import { isWorker } from './leave.js'
import { isExiting } from './real.js'

/**
 * Errors that nobody handles. They are seen by wrapping `process.emit`: what the listeners of the application and
 * of other libraries make of it is the result of the call, and their number stays what it was.
 */
export function uncaught(out: WayOut): Trigger {
  const onUncaught: Interceptor = (next, [error]) => {
    if (surfaced(error)) return true
    if (out.idle) return next()
    let fatal = error
    let code = 1
    try {
      if (next()) return true
    } catch (thrown) {
      // process.exit() in the application's own handler.
      if (surfaced(thrown)) return true
      fatal = thrown
      code = 7
    }
    // In 'exit', and while the loop is left to run dry, Node prints and ends by itself.
    if (isExiting() || out.over === 'natural') return false
    if (out.over) {
      out.printError(fatal)
      return true
    }
    // During a run it is recorded and the run goes on; an explicit run answers only for its own hooks.
    if (out.leaving || out.call) {
      out.fail(fatal)
      return true
    }
    // The main thread prints what ends a worker thread.
    if (!isWorker()) out.printError(fatal)
    out.leave({ kind: 'error', error: fatal, code })
    return true
  }
  const hide: Interceptor = (next, [error]) => isExitRequest(error) || next()

  const table: Record<string, Interceptor> = {
    uncaughtException: onUncaught,
    uncaughtExceptionMonitor: hide,
    unhandledRejection: (next, [reason]) => surfaced(reason) || next(),
    rejectionHandled: hide,
    // `--unhandled-rejections=warn` warns after the event, twice, with the stack of the reason.
    warning: (next, [warning]) => {
      const { name, message, stack } = warning as Error
      return (name === 'UnhandledPromiseRejectionWarning' && /^ExitRequest: /m.test(`${message}\n${stack}`)) || next()
    },
  }
  return {
    install() {
      if (!out.host) return
      for (const [event, interceptor] of Object.entries(table)) interceptors.set(event, interceptor)
      emitPatch.install()
    },
    uninstall() {
      for (const event of Object.keys(table)) interceptors.delete(event)
    },
  }
}
