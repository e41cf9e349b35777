import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { node } from './program.js'

export const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

/** `exodos run` with its own options, then the program: what goes in place of `node file`. */
export const exodosRun = (options: string[], ...command: string[]) => [node, main, 'run', ...options, '--', ...command]

/** The Node under test is what `node` means to sh, npm, npx and tsx. */
export const path = `${dirname(realNode())}:${process.env.PATH}`

function realNode(): string {
  return spawnSync(node, ['-p', 'process.execPath'], { encoding: 'utf8' }).stdout.trim()
}

/** Is there a process with this pid that hasn't ended? A zombie has. */
export function isAlive(pid: number): boolean {
  return !['', 'Z', 'X'].includes(stat(pid)[0] ?? '')
}

export async function isGone(pid: number): Promise<void> {
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 10))
}

/** Command lines of what is alive in a process group. */
export function aliveInGroup(group: number): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && isAlive(Number(name)) && stat(Number(name))[2] === String(group))
    .map((pid) => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))
}

export function childrenOf(pid: number): number[] {
  return read(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number)
}

/** The fields of /proc/PID/stat from the state on; the name before it may hold spaces and brackets. */
function stat(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Does the machine permit a pid namespace, in which a process is PID 1? */
export function canUnshare(): boolean {
  return process.platform === 'linux' && spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true']).status === 0
}

/** Puts a command in a pid namespace of its own, as its PID 1. */
export const asInit = (...command: string[]) => ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc', ...command]
