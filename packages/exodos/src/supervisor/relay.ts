import { commandOf, seen } from '../system/proc.js'
import { watchGroup } from './terminal.js'

/**
 * What is passed on to the program: all that can be listened for, but
 * - SIGSEGV, SIGBUS, SIGFPE, SIGILL: sent by a fault of our own
 * - SIGPROF: Node can't listen; SIGKILL, SIGSTOP: nobody can
 * - SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGWINCH: the terminal's, which sends them to the program as well
 * - SIGCHLD: about our own child
 * - SIGURG: ends nothing, and tells who is leaving, see system/proc.ts
 */
const PASSED = [
  'SIGTERM',
  'SIGINT',
  'SIGHUP',
  'SIGQUIT',
  'SIGBREAK',
  'SIGALRM',
  'SIGVTALRM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGABRT',
  'SIGTRAP',
  'SIGSYS',
  'SIGPIPE',
  'SIGIO',
  'SIGPWR',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGSTKFLT',
]

/** Calls back for each signal that we are sent; `toGroup` says that the program has been sent it as well. */
export function listenForSignals(onSignal: (signal: NodeJS.Signals, toGroup: boolean) => void): () => void {
  const group = watchGroup()
  const listener = (signal: NodeJS.Signals) => {
    if (group) group.wasHit(signal).then((toGroup) => onSignal(signal, toGroup))
    else onSignal(signal, false)
  }
  for (const signal of PASSED) {
    try {
      process.on(signal, listener)
    } catch {
      // This platform doesn't know the signal.
    }
  }
  const stopWatching = watchShell(() => onSignal('SIGTERM', false))
  return () => {
    stopWatching()
    group?.stop()
    for (const signal of PASSED) process.off(signal, listener)
  }
}

/** Milliseconds. */
const LOOK = 250

/**
 * npm runs scripts, and npx commands, through a shell, and signals that. Many shells die of it without a word to us: so
 * the end of that shell stands for SIGTERM.
 */
function watchShell(onEnd: () => void): () => void {
  const shell = process.ppid
  const npm = seen(shell)?.parent
  if (npm === undefined || !/^npm\b/.test(commandOf(npm)) || !/^\S*sh -c /.test(commandOf(shell))) return () => {}
  const timer = setInterval(() => {
    if (process.ppid === shell) return
    clearInterval(timer)
    onEnd()
  }, LOOK)
  return () => clearInterval(timer)
}
