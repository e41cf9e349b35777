import { existsSync, mkdirSync, readFileSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { allSeen, commandOf, isAlive } from '../../src/system/proc.js'
import { type Ended, node, type Program, type ProgramOptions, start, whenOver } from './program.js'
import { path } from './supervise.js'

/** A process: a later one with the same pid has another start time. */
export interface Born {
  readonly pid: number
  readonly startTime: string
}

/** Those that haven't ended; a zombie has. */
export const alive = <T extends Born>(processes: readonly T[]): T[] => processes.filter(isAlive)

/** Waits until they have all ended; long enough for a machine that is busy. */
export async function untilGone(processes: readonly Born[], most = 15_000): Promise<void> {
  for (const end = performance.now() + most; alive(processes).length > 0; await pause())
    if (performance.now() > end) throw new Error(`still there: ${alive(processes).map(({ pid }) => commandOf(pid))}`)
}

export const pause = () => new Promise((resolve) => setTimeout(resolve, 10))

/** What a process of a tree has written down. */
export interface Note extends Born {
  readonly name: string
  readonly what: string
}

/** Each process notes what happens to it in one file, which outlives all of them. */
const note = `import { appendFileSync, readFileSync } from 'node:fs'
const stat = readFileSync('/proc/self/stat', 'utf8')
const startTime = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
const log = new URL('log', import.meta.url)
export const name = process.argv[2] ?? 'root'
export const note = (what, who = name) => appendFileSync(log, [process.pid, startTime, who, what].join(' ') + '\\n')
/** Resolves when each of them has noted that it is up. */
export async function up(...names) {
  const isUp = (name) => readFileSync(log, 'utf8').includes(' ' + name + ' up\\n')
  while (!names.every(isUp)) await new Promise((resolve) => setTimeout(resolve, 10))
}
export const hold = () => setTimeout(() => {}, 60_000)
note('born')`

/** A child with a hook. */
const kid = `import { setTimeout as sleep } from 'node:timers/promises'
import { onExit } from 'exodos'
import { hold, note } from './note.mjs'
onExit(async () => { note('closing'); await sleep(20); note('closed') }, { name: 'resource' })
note('up')
hold()`

/** A child that knows nothing of exodos. It notes each signal. */
const plain = `import { hold, note } from './note.mjs'
for (const signal of ['SIGTERM', 'SIGINT'])
  process.on(signal, () => { note('closing'); setTimeout(() => { note('closed'); process.exit() }, 20) })
note('up')
hold()`

/** Nothing but SIGKILL ends it. */
const deaf = `import { hold, note } from './note.mjs'
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, () => note('asked'))
note('up')
hold()`

const programs = { 'note.mjs': note, 'kid.mjs': kid, 'plain.mjs': plain, 'deaf.mjs': deaf }

/** What a program begins with that starts a tree. */
export const imports = `
import { exec, execFile, fork, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { configure, onExit } from 'exodos'
import { hold, note, up } from './note.mjs'
const ready = () => { hold(); console.log('ready') }
/** Lets the process end by itself, whatever its children do. */
const letGo = (each) => {
  const child = each.nodeChildProcess ?? each
  child.unref()
  for (const stream of [child.channel, child.stdin, child.stdout, child.stderr]) stream?.unref?.()
}
`
/** A child is adopted by a call; `exodos/register` does without. */
export const explicit = `${imports}import { stopOnExit } from 'exodos/tree'\n`
export const zeroCode = `${imports}const stopOnExit = (child) => child\n`
export const register = ['--import', 'exodos/register']

export interface TreeOptions extends ProgramOptions {
  /** More programs beside it, or others, by their names. */
  files?: Record<string, string>
}

export interface Tree {
  readonly program: Program
  readonly dir: string
  notes(): Note[]
  /** Resolves once somebody has noted it, so often. */
  noted(name: string, what: string, times?: number): Promise<Note>
  /** All that work in its directory, whoever has started them; a guardian works elsewhere. */
  living(): Born[]
  /** Waits for the end of the program, and ends whatever is left. */
  over(): Promise<TreeEnded>
}

export interface TreeEnded extends Ended {
  readonly notes: readonly Note[]
  /** `name what`, without what is said at the start. */
  readonly events: readonly string[]
  /** Command lines of those that were alive when the program had ended. */
  readonly left: readonly string[]
}

/** Starts a program in a directory with the programs of a tree. */
export function startTree(source: string, { files = {}, ...options }: TreeOptions = {}): Tree {
  const program = start(source, {
    ...options,
    env: { PATH: path, SHELL: '/bin/sh', npm_config_update_notifier: 'false', ...options.env },
    command: (file) => {
      makePackage(dirname(file), { ...programs, ...files })
      return options.command?.(file) ?? [node, ...(options.nodeOptions ?? []), file]
    },
  })
  const { dir } = program
  const log = join(dir, 'log')
  const notes = () => (existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').map(parse) : [])
  const tree: Tree = {
    program,
    dir,
    notes,
    async noted(name, what, times = 1) {
      for (const end = performance.now() + 15_000; performance.now() < end; await pause()) {
        const found = notes().filter((each) => each.name === name && each.what === what)
        if (found.length >= times) return found[times - 1] as Note
      }
      throw new Error(`not noted within 15 s: ${name} ${what}; but\n${events(notes()).join('\n')}\n${program.printed()}`)
    },
    living: () => allSeen().filter((each) => isAlive(each) && directoryOf(each) === dir),
    async over() {
      try {
        const ended = await program.ended
        const left = tree.living().map(({ pid }) => commandOf(pid))
        const all = notes()
        return { ...ended, notes: all, events: events(all), left }
      } finally {
        await endTree(tree)
      }
    },
  }
  // Before the directory is removed.
  whenOver(() => endTree(tree))
  return tree
}

export const runTree = (source: string, options?: TreeOptions) => startTree(source, options).over()

function parse(line: string): Note {
  const [pid, startTime = '', name = '', ...what] = line.split(' ')
  return { pid: Number(pid), startTime, name, what: what.join(' ') }
}

const events = (notes: readonly Note[]) =>
  notes.filter(({ what }) => what !== 'born' && what !== 'up').map(({ name, what }) => `${name} ${what}`)

function directoryOf({ pid }: Born): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    // It has ended meanwhile.
    return undefined
  }
}

/** Who is just starting another has it only a moment later. */
async function endTree(tree: Tree): Promise<void> {
  for (let left = tree.living(); left.length > 0; left = tree.living()) {
    for (const each of left) kill(each)
    await pause()
  }
}

export function kill({ pid }: Pick<Born, 'pid'>, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended.
  }
}

/** A package, for npm and npx. */
function makePackage(dir: string, files: Record<string, string>): void {
  mkdirSync(join(dir, 'node_modules/.bin'), { recursive: true })
  symlinkSync(fileURLToPath(new URL('../..', import.meta.url)), join(dir, 'node_modules/exodos'))
  writeFileSync(join(dir, 'node_modules/.bin/the-kid'), '#!/bin/sh\nexec node kid.mjs "$@"\n', { mode: 0o755 })
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'app', scripts: { kid: 'node kid.mjs npm' } }))
  for (const [name, source] of Object.entries(files)) writeFileSync(join(dir, name), source)
}
