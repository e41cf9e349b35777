import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { accessSync, constants, existsSync, lstatSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
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
  for journal in "$2/owners/$3"/*.journal; do [ -s "$journal" ] && full=1; done
  [ -n "$full" ] || exit 0
  "$0" "$1" "$2" "$3" </dev/null && exit 0
  sleep 0.5
done`

/** Starts the waiter of this process; undefined where there is no shell. It costs 2 MB and no time; nobody has to wait for it. */
export function startWaiter(state: string, owner: string): ChildProcess | undefined {
  if (!hasShell()) return undefined
  const child = spawn('/bin/sh', ['-c', WAITER, process.execPath, executorIn(state), state, owner], {
    cwd: '/',
    env: environment(),
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore', ...inheritedDescriptors()],
  })
  child.on('error', () => {})
  child.stdin?.on('error', () => {})
  child.unref()
  ;(child.stdin as unknown as { unref(): void } | null)?.unref()
  return child
}

/** Does for dead owners what they have left behind, in a process of its own. */
export function startRecovery(state: string): void {
  const child = spawn(process.execPath, [executorIn(state), state], {
    cwd: '/',
    env: environment(),
    detached: true,
    stdio: 'ignore',
  })
  child.on('error', () => {})
  child.unref()
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

function hasShell(): boolean {
  try {
    accessSync('/bin/sh', constants.X_OK)
    return process.platform !== 'win32'
  } catch {
    return false
  }
}

/**
 * The waiter inherits what isn't closed on exec, as a pipe that somebody waits for the end of. In its place it gets nothing:
 * an entry of `stdio` for each.
 */
function inheritedDescriptors(): ('ignore' | null)[] {
  if (!existsSync('/proc/self/fdinfo')) return []
  const CLOEXEC = 0o2000000
  const inherited = readdirSync('/proc/self/fdinfo')
    .map(Number)
    .filter((fd) => fd > 2 && (flagsOf(fd) & CLOEXEC) === 0)
  return Array.from({ length: Math.max(2, ...inherited) - 2 }, () => 'ignore' as const)
}

function flagsOf(fd: number): number {
  try {
    return Number.parseInt(/^flags:\s*([0-7]+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '', 8)
  } catch {
    // Its own, closed since.
    return 0o2000000
  }
}
