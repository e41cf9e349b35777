import { clock } from './clock.js'
import type { Trigger, WayOut } from './coordinator.js'
import { listenOnce, realProcess } from './real.js'

/**
 * The signals that end a program and can be seen by it, each with its usual sender.
 *
 * Left out:
 * - SIGKILL, SIGSTOP: can't be handled.
 * - SIGSEGV, SIGBUS, SIGFPE, SIGILL: raised by a fault of the program; a listener turns the crash into an endless loop.
 * - SIGABRT, SIGTRAP, SIGSYS: the same, and what debuggers and core dumps hang on.
 * - SIGPROF: V8's profiler uses it; Node can't listen.
 * - SIGUSR1: opens Node's inspector. SIGPIPE, SIGXFSZ: ignored by Node; the failing write reports it.
 * - SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT: job control; handling them breaks Ctrl-Z.
 * - SIGCHLD, SIGWINCH, SIGURG: ignored by default, they end nothing.
 */
export const SIGNALS: readonly string[] = [
  'SIGTERM', // kill, service managers, container runtimes: please end
  'SIGINT', // Ctrl-C
  'SIGHUP', // the terminal was closed; on Windows the console window
  'SIGQUIT', // Ctrl-\
  'SIGBREAK', // Ctrl-Break on Windows
  'SIGALRM', // alarm(2) set by whoever started the program, `timeout -s ALRM`
  'SIGVTALRM', // the same, counted in CPU time
  'SIGXCPU', // the soft limit of CPU time is used up, the hard one kills
  'SIGUSR2', // nodemon restarts with it
  'SIGPWR', // the power supply is failing
  'SIGIO', // these two end a program that doesn't listen, whoever sends them
  'SIGSTKFLT',
]

/** Terminals, npm and nodemon deliver one Ctrl-C several times, within 155 ms at most where it was measured. */
export const DEBOUNCE = 500

/** Signals: the first one begins the run, a later one forces it, a third one kills. */
export function signals(out: WayOut): Trigger & { raise(signal: string, code: number): void } {
  const installed = new Map<string, () => void>()
  /** A listener of ours that came back would take the signal. */
  let isDying = false
  let counted = 0
  let last = Number.NEGATIVE_INFINITY

  function onSignal(signal: string): void {
    if (!out.running && (out.idle || !out.decides)) {
      // It knows nothing of us, and shuts down, or goes on, in its own way; its `process.exit` is ours to see.
      if (handledByApp(signal)) {
        out.leaveToApp(signal)
        return
      }
      if (out.idle) {
        kill(signal)
        return
      }
    }
    const now = clock.now()
    if (counted > 0 && now - last < DEBOUNCE) {
      if (out.running) out.leave({ kind: 'signal', signal })
      return
    }
    last = now
    counted++
    if (counted >= 3) {
      kill(signal)
      return
    }
    if (counted === 2) out.force()
    out.leave({ kind: 'signal', signal })
  }

  function kill(signal: string): void {
    isDying = true
    // All listeners: one that stayed would keep the signal from doing what it is sent for.
    realProcess.removeAllListeners(signal)
    realProcess.kill(realProcess.pid, signal)
    // Still alive after two ticks: PID 1, for which the kernel drops signals that nobody handles. Deno takes longer.
    const leave = () => out.reallyExit(128 + signalNumber(signal))
    clock.soon(() => (realProcess.versions.deno ? clock.wait(1000, leave) : clock.soon(leave)))
  }

  return {
    install() {
      if (isDying) return
      for (const signal of SIGNALS) {
        const listener = installed.get(signal) ?? (() => onSignal(signal))
        if (out.policy.signals[signal] === 'app') {
          realProcess.off(signal, listener)
          installed.delete(signal)
          continue
        }
        try {
          listenOnce(signal, listener, 'prependListener')
          installed.set(signal, listener)
        } catch {
          // This platform doesn't know the signal.
        }
      }
    },
    uninstall() {
      for (const [signal, listener] of installed) realProcess.off(signal, listener)
      installed.clear()
      counted = 0
      last = Number.NEGATIVE_INFINITY
    },
    raise(signal, code) {
      try {
        // What other libraries clean up in 'exit' is run once, as if the process ended by itself.
        realProcess.emit('exit', code)
      } catch (error) {
        out.printError(error)
      }
      const windows = realProcess.platform === 'win32'
      if (windows && !/^SIG(INT|TERM|KILL)$/.test(signal)) out.reallyExit(code)
      else kill(signal)
    },
  }
}

/** Does anybody listen who will decide about the process? signal-exit doesn't: it waits for somebody else to. */
function handledByApp(signal: string): boolean {
  const count = (emitter: unknown) => Number((emitter as { count?: number } | undefined)?.count ?? 0)
  const lookers =
    count((globalThis as Record<symbol, unknown>)[Symbol.for('signal-exit emitter')]) +
    count((realProcess as unknown as Record<string, unknown>).__signal_exit_emitter__)
  return realProcess.listenerCount(signal) > 1 + lookers
}

/** Signal numbers differ between systems, and Node knows this one's; loaded only when a signal ends the process. */
export function signalNumber(signal: string): number {
  const { constants } = realProcess.getBuiltinModule('node:os')
  return constants.signals[signal as NodeJS.Signals] ?? 0
}
