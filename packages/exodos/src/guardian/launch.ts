import type { ChildProcess, StdioOptions } from 'node:child_process'
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
  rmSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { builtin } from '../process/real.js'
import { randomHex } from '../system/random.js'
import { nodeProgram } from './actions/environment.js'
import { distrust } from './records/state-dir.js'
import { hash, source } from './recovery/executor.js?source'

/**
 * Sleeps in a read until the owner's end of the pipe is closed, which the kernel does however the owner ends. If something
 * is left in its journals it has Node do that: as a child, since Node forgets the ignored signals that it is started with,
 * and somebody may kill it; three times at most.
 */
const WAITER = `unset NODE_OPTIONS
trap '' INT TERM HUP QUIT USR1 USR2 PIPE TSTP
read -r _
for try in 1 2 3; do
  full=
  for journal in "$2/owners/$3"*/*.journal "$2/owners/"*"~$3"*/*.journal; do [ -s "$journal" ] && full=1; done
  [ -n "$full" ] || exit 0
  "$0" "$1" after "$2" "$4" </dev/null && exit 0
  sleep 0.5
done`

/** Costs 2 MB and no time. `prefix` begins the names of what it is to look at. */
export function startShell(state: string, prefix: string, owner: string): ChildProcess {
  const { command, env } = nodeProgram()
  const words = [WAITER, command, executorIn(state), state, prefix, owner]
  return start('/bin/sh', ['-c', ...words], env, 'pipe')
}

/**
 * The same for a thread that nobody looks after, as a child of init: a thread that ends doesn't collect its children, and
 * its process would keep a zombie. It reads a pipe with a name, which Node closes when the thread ends.
 */
export function startOrphan(state: string, owner: string, pipe: string): number {
  const { command, env } = nodeProgram()
  if (!existsSync(pipe)) runNow('mkfifo', ['-m', '600', pipe], env)
  // Closed by Node when the thread ends; with `trackUnmanagedFds: false` only when the process does.
  openSync(pipe, constants.O_RDWR)
  const script = `exec 3<"$5"\n( ${WAITER} ) <&3 3<&- &\necho $! >"$5.pid"`
  runNow('/bin/sh', ['-c', script, command, executorIn(state), state, owner, owner, pipe], env)
  return Number(readFileSync(`${pipe}.pid`, 'latin1'))
}

/** As `start`, but waits for its end, and collects it. */
function runNow(program: string, args: readonly string[], env: Record<string, string>): void {
  const { error, status } = masked((masks) => {
    const stdio = ['ignore', 'ignore', 'ignore', ...masks]
    return childProcess().spawnSync(program, args, { cwd: '/', env, detached: true, stdio } as object)
  })
  if (error || status !== 0) throw error ?? new Error(`${program} ended with exit code ${status}`)
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
  const { command, env } = nodeProgram()
  const script = state === undefined ? ['--eval', source, '--'] : [executorIn(state)]
  const args = [...script, state === undefined ? 'hold' : 'wait', state ?? '', owner]
  return start(command, args, env, 'pipe')
}

/** Does for dead owners what they have left behind, in a process of its own. */
export function startRecovery(state: string): void {
  const { command, env } = nodeProgram()
  const args = [executorIn(state), 'recover', state, '']
  if (!hasShell()) start(command, args, env, 'ignore')
  else runNow('/bin/sh', ['-c', 'unset NODE_OPTIONS\n"$0" "$@" &', command, ...args], env)
}

function start(command: string, args: readonly string[], env: Record<string, string>, input: 'pipe' | 'ignore'): ChildProcess {
  // With its permission model Node gives its own options to whatever it starts: a shell takes them away.
  const isRestricted = 'permission' in process && hasShell()
  const words = isRestricted ? ['/bin/sh', '-c', 'unset NODE_OPTIONS; exec "$0" "$@"', command] : [command]
  const child = masked((masks) => {
    const stdio: StdioOptions = [input, 'ignore', 'ignore', ...masks]
    // A session of its own: no terminal, and no signals that are meant for ours.
    const options = { cwd: '/', env, stdio, detached: true, windowsHide: true }
    return childProcess()
      .spawn(words[0] as string, [...words.slice(1), ...args], options)
      .on('error', () => {})
  })
  if (child.pid === undefined) throw new Error(`${command} can't be started`)
  child.stdin?.on('error', () => {})
  child.unref()
  ;(child.stdin as unknown as { unref?(): void } | null)?.unref?.()
  return child
}

const childProcess = () => builtin<typeof import('node:child_process')>('node:child_process')

/** The executor as a file: bundlers can't break it, and a version that is removed meanwhile still does its work. */
export function executorIn(state: string): string {
  const path = join(state, `executor-${hash}.cjs`)
  if (!isWhole(path)) {
    const beside = `${path}.${randomHex(6)}`
    try {
      writeFileSync(beside, source, { mode: 0o600, flag: 'wx' })
      renameSync(beside, path)
    } catch (error) {
      rmSync(beside, { force: true })
      throw error
    }
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
 * A child inherits what isn't closed on exec, as a pipe that somebody waits for the end of. In the place of each it gets
 * /dev/null; `'ignore'` would leave it there.
 */
function masked<T extends { readonly pid?: number | undefined }>(spawn: (masks: number[]) => T): T {
  const CLOEXEC = 0o2000000
  const inherited = descriptors().filter((fd) => (flagsOf(fd) & CLOEXEC) === 0)
  if (inherited.length === 0) return spawn([])
  const nothing = openSync('/dev/null', 'r')
  try {
    const result = spawn(new Array(Math.max(...inherited) - 2).fill(nothing))
    if (result.pid) return result
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
  } finally {
    closeSync(nothing)
  }
  // One has a number that is above what may be opened now.
  return spawn([])
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
