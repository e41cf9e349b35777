/**
 * Of a file: device, inode and time of birth, so that an inode that is used again isn't taken for the same file. Decimal
 * numbers.
 */
export interface Identity {
  readonly dev: string
  readonly ino: string
  /** Nanoseconds. */
  readonly birth: string
}

/** Remove a path. */
export interface PathAction {
  readonly kind: 'path'
  /** Absolute. */
  readonly path: string
  /** A directory with all that is in it. */
  readonly tree: boolean
  /** What is to be there; anything else is left alone. Absent: whatever is there. */
  readonly identity?: Identity | undefined
  /** Nobody else can have the name: it is random. */
  readonly unique?: true
}

/** Remove the path of a Unix domain socket that nobody listens on any more. */
export interface SocketAction {
  readonly kind: 'socket'
  readonly path: string
  readonly identity?: Identity | undefined
}

/** End a process, or its group. */
export interface ProcessAction {
  readonly kind: 'process'
  readonly pid: number
  /** As /proc has it, in clock ticks since boot: tells it from a later one with the same pid. */
  readonly start: string
  /** All that is in the group, or in the session, whose leader the process is. */
  readonly group: boolean
  /** Asks it to end. */
  readonly signal: string
  /** Milliseconds from the signal to SIGKILL. */
  readonly timeout: number
  /** `NAME=value` in the environment that a process was started with: finds those that have left the group, too. */
  readonly cookie?: string | undefined
}

/** Run a program. */
export interface CommandAction {
  readonly kind: 'command'
  readonly argv: readonly string[]
  readonly cwd: string
  /** Beside what every program gets. */
  readonly env: Readonly<Record<string, string>>
  /** Milliseconds, then SIGKILL. */
  readonly timeout: number
}

/** Call a function that a module exports, in a process of its own. */
export interface CallAction {
  readonly kind: 'call'
  /** A file's URL, or a package's name as seen from `cwd`. */
  readonly module: string
  readonly export: string
  readonly args: readonly unknown[]
  readonly cwd: string
  readonly env: Readonly<Record<string, string>>
  readonly timeout: number
}

/** Give back a lock file, see lock-file.ts. */
export interface LockAction {
  readonly kind: 'lock'
  readonly path: string
  readonly token: string
}

/** A cleanup written down as data: it survives the death of the process. */
export type Action = PathAction | SocketAction | ProcessAction | CommandAction | CallAction | LockAction

/**
 * What came of an action. `left` says in words why something was left alone: for good, or for whoever does it now. `later`
 * says why it can be done only when this process has ended.
 */
export type Outcome = { readonly done: true } | { readonly left: string; readonly handedOver?: true } | { readonly later: string }

export const DONE: Outcome = { done: true }

/** What an action does, for whoever reads a report. */
export function wordsFor(action: Action): string {
  switch (action.kind) {
    case 'path':
      return `remove ${action.path}`
    case 'socket':
      return `remove socket ${action.path}`
    case 'process':
      return `end process ${action.pid}`
    case 'command':
      return action.argv.join(' ')
    case 'call':
      return `call ${action.export} of ${action.module}`
    case 'lock':
      return `release ${action.path}`
    default:
      return (action as { kind: string }).kind
  }
}
