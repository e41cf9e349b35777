import type { HookContext } from '../core/hook.js'
import { clock } from '../process/clock.js'
import { coordinator } from '../process/shared.js'
import { wasToUsAlone } from '../process/supervised.js'
import { seen } from '../system/proc.js'
import type { Child } from './child.js'

/** Sent by a terminal to all of its foreground group: by Ctrl-C, by Ctrl-\, and when it is closed. */
const BY_TERMINAL = ['SIGINT', 'SIGQUIT', 'SIGHUP']

/** When it is closed we have none any more. */
const hadTerminal = (seen(process.pid)?.terminal ?? 0) !== 0

/**
 * When the child was sent the signal that ends us as well, by the clock: long ago if it wasn't. A signal doesn't tell its
 * sender; but who is in the foreground of a terminal is sent these three by hardly anybody else, and `exodos run` knows.
 */
export function toldByTerminalAt(child: Child, { first }: HookContext['reason']): number {
  // The application may have heard it, and have called process.exit().
  const { signal, at } = first.signal ? { signal: first.signal, at: clock.now() } : (coordinator().state.heard ?? NEVER)
  return isFromTerminal(child, signal) ? at : NEVER.at
}

const NEVER = { signal: '', at: Number.NEGATIVE_INFINITY }

function isFromTerminal(child: Child, signal: string): boolean {
  if (!hadTerminal || child.isLeader || !BY_TERMINAL.includes(signal) || wasToUsAlone(signal)) return false
  const [self, there] = [seen(process.pid), seen(child.pid)]
  if (!self || self.group !== there?.group) return false
  // When it is closed there is no foreground any more.
  return signal === 'SIGHUP' || self.foreground === self.group
}
