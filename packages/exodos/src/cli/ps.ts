import { wordsFor } from '../guardian/records/action.js'
import { findStateDir } from '../guardian/records/state-dir.js'
import { recordsOf as actionsOf } from '../guardian/recovery/claim.js'
import { announcementOf } from '../supervisor/directory.js'
import { ask } from '../supervisor/inspector.js'
import { treeOf } from '../supervisor/tree.js'
import { catches, commandOf, hasExodos, ignores, isLeaving, type Seen, seen } from '../system/proc.js'
import { type Command, UsageError } from './usage.js'

export const ps: Command = {
  summary: 'shows a tree of processes, and what each would do on the way out',
  help: `Usage: exodos ps [--hooks] PID

Shows a process and all that descends from it, also what has left its group or its parent but carries the mark that
exodos gives to child processes: which of them have exit hooks, what SIGTERM does to each, and what would be cleaned up
if it were killed. Linux only.

  --hooks  also lists the exit hooks of Node programs under exodos run, in their order: opens their inspector for it
  --help

Exit status: 0; 1 when there is no such process.`,
  options: { hooks: 'flag' },
  async run({ values, rest }) {
    const [text = '', more] = rest
    if (!/^\d+$/.test(text) || more !== undefined)
      throw new UsageError(`ps: expected one PID, got ${rest.join(' ') || 'nothing'}`)
    const pid = Number(text)
    const root = seen(pid)
    if (!root) {
      console.error(`exodos ps: there is no process ${pid}`)
      process.exitCode = 1
      return
    }
    const rows = [['PID', 'THREADS', 'HOOKS', 'ON SIGTERM', 'COMMAND']]
    const lines: string[][] = [[]]
    for (const { process, depth } of treeOf(root)) {
      const indent = '  '.repeat(depth)
      rows.push([
        `${indent}${process.pid}`,
        `${process.threads}`,
        hasExodos(process.pid) ? 'yes' : 'no',
        onSigterm(process),
        shown(process.pid),
      ])
      lines.push(
        [...recordsOf(process), ...('hooks' in values ? await hooksOf(process) : [])].map((line) => `${indent}    ${line}`),
      )
    }
    const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)))
    for (const [i, row] of rows.entries()) {
      console.log(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
      for (const line of lines[i] as string[]) console.log(line)
    }
  },
}

/** Characters. */
const LONGEST = 100

/** On one line. The guardian is a shell with a script. */
function shown(pid: number): string {
  const command = commandOf(pid).replace(/\s+/g, ' ')
  if (/executor-\w+\.cjs/.test(command)) return '(exodos: the guardian of the process above)'
  return command.length > LONGEST ? `${command.slice(0, LONGEST)}…` : command
}

/** As the kernel tells it: which signals a process listens for, and which it ignores. */
function onSigterm({ pid, state }: Seen): string {
  if (state === 'Z') return 'has ended'
  if (isLeaving(pid)) return 'is leaving'
  if (hasExodos(pid)) return 'runs its exit hooks'
  if (ignores(pid, 'SIGTERM')) return 'ignores it'
  return catches(pid, 'SIGTERM') ? 'as it likes' : 'ends at once'
}

/** What a guardian would do for it. */
function recordsOf({ pid, startTime }: Seen): string[] {
  const state = findStateDir(undefined, false)
  if ('reason' in state) return []
  return actionsOf(state.path, { pid, start: startTime }).map((action) => {
    const isOwn = action.kind === 'process' && action.pid === pid
    return `if killed: ${isOwn ? 'end all that descends from it' : wordsFor(action)}`
  })
}

const EXPLAIN = "process.getBuiltinModule('node:events').EventEmitter[Symbol.for('exodos')]?.explain().text"

async function hooksOf({ pid }: Seen): Promise<string[]> {
  if (!hasExodos(pid)) return []
  const place = announcementOf(pid)?.inspector
  if (!place) return ['its hooks can be asked for under exodos run only']
  const text = await ask(pid, place, () => process.kill(pid, 'SIGUSR1'), EXPLAIN)
  return text?.split('\n').filter(Boolean) ?? ['its hooks are not known: it does not answer']
}
