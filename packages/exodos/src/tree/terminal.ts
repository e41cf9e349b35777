import type { HookContext } from '../core/hook.js'
import { wasToUsAlone } from '../process/supervised.js'
import { seen } from '../system/proc.js'
import type { Child } from './child.js'

/** Sent by a terminal to all of its foreground group: by Ctrl-C, by Ctrl-\, and when it is closed. */
const BY_TERMINAL = ['SIGINT', 'SIGQUIT', 'SIGHUP']

/** When it is closed we have none any more. */
const hadTerminal = (seen(process.pid)?.terminal ?? 0) !== 0

/**
 * Has the signal that ends us been sent to the child, too? A signal doesn't tell its sender; but who is in the foreground of
 * a terminal is sent these three by hardly anybody else, and `exodos run` knows.
 */
export function isToldByTerminal(child: Child, { first }: HookContext['reason']): boolean {
  const { signal } = first
  if (!hadTerminal || child.isLeader || signal === undefined || !BY_TERMINAL.includes(signal) || wasToUsAlone(signal))
    return false
  const [self, there] = [seen(process.pid), seen(child.pid)]
  if (!self || self.group !== there?.group) return false
  // When it is closed there is no foreground any more.
  return signal === 'SIGHUP' || self.foreground === self.group
}
