import type { Trigger, WayOut } from './coordinator.js'
import { emitPatch, type Interceptor, interceptors } from './emit.js'
import { isExitRequest, surfaced } from './exit-request.js'
import { isWorker } from './leave.js'
import { isExiting, listenOnce, realProcess } from './real.js'

/** These don't ask for `process.emit`, or only when somebody listens: there a listener has to do. */
const isEmitUnasked = realProcess.versions.bun !== undefined || realProcess.versions.deno !== undefined

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
  const others = (event: string) => realProcess.listenerCount(event) > 1
  const onError = (error: unknown) => {
    if (surfaced(error)) return
    if (!out.idle || others('uncaughtException')) return void onUncaught(() => others('uncaughtException'), [error])
    out.printError(error)
    realProcess.exit(1)
  }
  const onRejection = (reason: unknown) => {
    if (surfaced(reason) || others('unhandledRejection')) return
    if (others('uncaughtException')) (realProcess as NodeJS.EventEmitter).emit('uncaughtException', reason, 'unhandledRejection')
    else onError(reason)
  }

  return {
    install() {
      if (!out.host) return
      if (isEmitUnasked) {
        listenOnce('uncaughtException', onError)
        listenOnce('unhandledRejection', onRejection)
        return
      }
      for (const [event, interceptor] of Object.entries(table)) interceptors.set(event, interceptor)
      emitPatch.install()
    },
    uninstall() {
      realProcess.off('uncaughtException', onError)
      realProcess.off('unhandledRejection', onRejection)
      for (const event of Object.keys(table)) interceptors.delete(event)
    },
  }
}
