import { type ChildProcess, type StdioOptions, spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  opendirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { environment } from './actions.js'
import { source } from './executor.js?source'
import { distrust } from './state-dir.js'

/**
 * Sleeps in a read until the owner's end of the pipe is closed, which the kernel does however the owner ends. If something
 * is left in its journals it has Node do that: as a child, since Node forgets the ignored signals that it is started with,
 * and somebody may kill it; three times at most.
 */
const WAITER = `trap '' INT TERM HUP QUIT USR1 USR2 PIPE TSTP
read -r _
for try in 1 2 3; do
  full=
  for journal in "$2/owners/$3"*/*.journal; do [ -s "$journal" ] && full=1; done
  [ -n "$full" ] || exit 0
  "$0" "$1" after "$2" "$4" </dev/null && exit 0
  sleep 0.5
done`

/** Costs 2 MB and no time. `prefix` begins the names of what it is to look at. */
export function startShell(state: string, prefix: string, owner: string): ChildProcess {
  const { command, env } = program()
  const words = [WAITER, command, executorIn(state), state, prefix, owner]
  return start('/bin/sh', ['-c', ...words], env, ['pipe', 'ignore', 'ignore', ...inheritedDescriptors()])
}

/**
 * The same for a thread that nobody looks after, as a child of init: a thread that ends doesn't collect its children, and
 * its process would keep a zombie. It reads a pipe with a name, which Node closes when the thread ends.
 */
export function startOrphan(state: string, owner: string, pipe: string): void {
  const { command, env } = program()
  const options = { cwd: '/', env, detached: true, stdio: ['ignore', 'ignore', 'ignore', ...inheritedDescriptors()] } as object
  const run = (program: string, args: readonly string[]) => {
    const { error, status } = spawnSync(program, args, options)
    if (error || status !== 0) throw error ?? new Error(`${program} ended with exit code ${status}`)
  }
  if (!existsSync(pipe)) run('mkfifo', ['-m', '600', pipe])
  openSync(pipe, constants.O_RDWR)
  run('/bin/sh', ['-c', `exec 3<"$5"\n( ${WAITER} ) <&3 3<&- &`, command, executorIn(state), state, owner, owner, pipe])
}

export function hasShell(): boolean {
  try {
    accessSync('/bin/sh', constants.X_OK)
    return process.platform !== 'win32'
  } catch {
    return false
  }
}

/** The same in Node: it costs 40 MB. Without a state directory it is told the records, see executor.ts. */
export function startNode(state: string | undefined, owner: string): ChildProcess {
  const { command, env } = program()
  const script = state === undefined ? ['--eval', source, '--'] : [executorIn(state)]
  const args = [...script, state === undefined ? 'hold' : 'wait', state ?? '', owner]
  return start(command, args, env, ['pipe', 'ignore', 'ignore', ...inheritedDescriptors()])
}

/** Does for dead owners what they have left behind, in a process of its own. */
export function startRecovery(state: string): void {
  const { command, env } = program()
  start(command, [executorIn(state), 'recover', state, ''], env, 'ignore')
}

function start(command: string, args: readonly string[], env: Record<string, string>, stdio: StdioOptions): ChildProcess {
  // A session of its own: no terminal, and no signals that are meant for ours.
  const child = spawn(command, args, { cwd: '/', env, stdio, detached: true, windowsHide: true })
  child.on('error', () => {})
  if (child.pid === undefined) throw new Error(`${command} can't be started`)
  child.stdin?.on('error', () => {})
  child.unref()
  ;(child.stdin as unknown as { unref(): void } | null)?.unref()
  return child
}

/** The Node that runs us. Throws where that is a program of its own, which would be started again. */
function program(): { command: string; env: Record<string, string> } {
  const { electron, bun, deno } = process.versions
  const isOne = process.getBuiltinModule?.('node:sea')?.isSea() === true || 'pkg' in process
  if (isOne || deno) throw new Error(`${process.execPath} is not Node`)
  const env = environment()
  if (electron) env.ELECTRON_RUN_AS_NODE = '1'
  if (bun) env.BUN_BE_BUN = '1'
  return { command: process.execPath, env }
}

/** The executor as a file: bundlers can't break it, and a version that is removed meanwhile still does its work. */
function executorIn(state: string): string {
  const path = join(state, `executor-${createHash('sha256').update(source).digest('hex').slice(0, 16)}.cjs`)
  if (!isWhole(path)) {
    const beside = `${path}.${process.pid}`
    writeFileSync(beside, source, { mode: 0o600 })
    renameSync(beside, path)
  }
  return path
}

function isWhole(path: string): boolean {
  try {
    return distrust(lstatSync(path)) === undefined && readFileSync(path, 'utf8') === source
  } catch {
    return false
  }
}

/** Descriptors that are looked at: what a process was started with has low numbers, and thousands of others may follow. */
const MOST_DESCRIPTORS = 256

/**
 * The waiter inherits what isn't closed on exec, as a pipe that somebody waits for the end of. In its place it gets nothing:
 * an entry of `stdio` for each.
 */
function inheritedDescriptors(): 'ignore'[] {
  const CLOEXEC = 0o2000000
  const inherited = descriptors().filter((fd) => (flagsOf(fd) & CLOEXEC) === 0)
  return Array.from({ length: Math.max(2, ...inherited) - 2 }, () => 'ignore' as const)
}

/** In ascending order, as the kernel lists them. */
function descriptors(): number[] {
  const found: number[] = []
  try {
    const dir = opendirSync('/proc/self/fdinfo', { bufferSize: 64 })
    for (let entry = dir.readSync(); entry && Number(entry.name) < MOST_DESCRIPTORS; entry = dir.readSync())
      if (Number(entry.name) > 2) found.push(Number(entry.name))
    dir.closeSync()
  } catch {
    // There is no /proc, and nothing is known.
  }
  return found
}

const info = Buffer.alloc(128)

function flagsOf(fd: number): number {
  try {
    const file = openSync(`/proc/self/fdinfo/${fd}`, constants.O_RDONLY)
    const length = readSync(file, info)
    closeSync(file)
    return Number.parseInt(/^flags:\s*([0-7]+)/m.exec(info.toString('latin1', 0, length))?.[1] ?? '', 8)
  } catch {
    // Its own, closed since.
    return 0o2000000
  }
}
