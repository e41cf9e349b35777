import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { type Program, type ProgramOptions, start, whenOver } from './program.js'
import { aliveInGroup, childrenOf, isAlive } from './supervise.js'

/** Where one test makes what is to be cleaned. Short: a socket is in it. */
export interface Place {
  dir: string
  state: string
  /** Empty when all is clean. */
  work: string
  /** For the programs of the test: in PLACE is `dir`. */
  env: { EXODOS_STATE_DIR: string; PLACE: string }
}

export function makePlace(): Place {
  const dir = mkdtempSync(join(tmpdir(), 'exodos-death-'))
  const place = {
    dir,
    state: join(dir, 'state'),
    work: join(dir, 'work'),
    env: { EXODOS_STATE_DIR: join(dir, 'state'), PLACE: dir },
  }
  whenOver(() => removePlace(place))
  mkdirSync(place.work)
  writeFileSync(
    join(dir, 'note.mjs'),
    `import { appendFileSync } from 'node:fs'\nexport const note = (log) => appendFileSync(log, 'call\\n')`,
  )
  return place
}

async function removePlace(place: Place): Promise<void> {
  // A guardian outlives whatever a failed test has left; so does what the program was to end.
  for (let left = processesOf(place); left.length > 0; left = processesOf(place)) {
    for (const pid of left) kill(pid)
    await pause()
  }
  rmSync(place.dir, { recursive: true, force: true })
}

const pause = () => new Promise((resolve) => setTimeout(resolve, 10))

/** Waits for a condition; long enough for a machine that is busy. */
export async function until<T>(what: string, condition: () => T | undefined | false): Promise<T> {
  const deadline = performance.now() + 10_000
  for (;;) {
    const found = condition()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`)
    await pause()
  }
}

/** What programs begin with. */
export const imports = `
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, closeSync, mkdirSync, openSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
import { createServer } from 'node:net'
import { pathToFileURL } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'
import { onExit } from 'exodos'
import { durable } from 'exodos/durable'
import { lockFile } from 'exodos/lock'
import { tempDir, tempFile } from 'exodos/temp'
const place = process.env.PLACE
const work = place + '/work'
const log = place + '/log'
const say = (text) => writeSync(1, text + '\\n')
const hold = () => setTimeout(() => {}, 60_000)
const noteWhenDone = () => durable.command(['/bin/sh', '-c', 'echo command >> "$0"', log])
`

/** Whatever can be recorded, each kind once. */
export const everything = `${imports}
const tree = tempDir({ parent: work })
mkdirSync(tree.path + '/a/b', { recursive: true })
writeFileSync(tree.path + '/a/b/c', 'text')
tempFile({ parent: work })
const group = spawn('/bin/sh', ['-c', 'sleep 600 & sleep 600'], { detached: true, stdio: 'ignore' })
group.unref()
durable.process(group, { group: true })
noteWhenDone()
durable.call({ module: pathToFileURL(place + '/note.mjs'), export: 'note', args: [log] })
await lockFile(work + '/lock')
const socket = durable.socket(work + '/socket')
const server = createServer().listen(work + '/socket').unref()
await once(server, 'listening')
socket.made()
writeFileSync(place + '/pids', JSON.stringify({ pid: process.pid, group: group.pid }))
`
/** A directory and a command. */
export const little = `${imports} tempDir({ parent: work }); noteWhenDone();`
export const wait = `say('ready'); hold()`

/** What the cleanups of `everything` write. */
export const allNotes = ['call', 'command']

/** The lines that cleanups have written, in the order of the alphabet. */
export const notes = ({ dir }: Place) => textOf(join(dir, 'log')).split('\n').filter(Boolean).sort()

export function pidsOf({ dir }: Place): { pid?: number; group?: number } {
  return JSON.parse(textOf(join(dir, 'pids')) || '{}')
}

/** Nothing is there any more, and the cleanups have written what they were to write. */
export function isClean(place: Place, expected: readonly string[] = []): boolean {
  const { group } = pidsOf(place)
  const isDone = readdirSync(place.work).length === 0 && notes(place).length >= expected.length
  return isDone && (group === undefined || aliveInGroup(group).length === 0)
}

/** Nobody is at work any more, and there is nothing left to be done. */
export const isOver = (place: Place) => helpersOf(place).length === 0 && journals(place) === '' && failed(place).length === 0

export const owners = ({ state }: Place) => list(join(state, 'owners'))
export const failed = ({ state }: Place) => list(join(state, 'failed'))

/** All that is in the journals. */
export const journals = (place: Place) =>
  owners(place)
    .flatMap((owner) => list(join(place.state, 'owners', owner)).map((name) => join(place.state, 'owners', owner, name)))
    .filter((path) => path.endsWith('.journal'))
    .map(textOf)
    .join('')

/** The guardian of a process, as soon as there is one. */
export const guardianOf = (place: Place, pid: number, other?: number) =>
  until('a guardian', () => guardiansOf(place, pid).find((each) => each !== other))

export const guardiansOf = (place: Place, pid: number) =>
  childrenOf(pid).filter((child) => isAlive(child) && textOf(`/proc/${child}/cmdline`).includes(place.state))

/** Guardians, and what they run. */
export const helpersOf = ({ state }: Place) => pids().filter((pid) => textOf(`/proc/${pid}/cmdline`).includes(state))

const processesOf = ({ dir }: Place) =>
  pids().filter((pid) => textOf(`/proc/${pid}/cmdline`).includes(dir) || textOf(`/proc/${pid}/environ`).includes(`PLACE=${dir}`))

const pids = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid)

function list(dir: string): string[] {
  return existsSync(dir) ? readdirSync(dir) : []
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

export interface Owner {
  place: Place
  program: Program
  pid: number
}

/** Runs a program until it has said `ready`. */
export async function begin(source: string, options: ProgramOptions = {}, place = makePlace()): Promise<Owner> {
  const program = start(source, { ...options, env: { ...place.env, ...options.env } })
  await program.until('ready')
  return { place, program, pid: pidsOf(place).pid ?? (program.child.pid as number) }
}

/** Waits for the end of the owner, and until nothing is left and nobody is at work. Returns the milliseconds in between. */
export async function untilClean({ place, program, pid }: Owner, expected: readonly string[]): Promise<number> {
  let ended: number | undefined
  if (pid === program.child.pid) program.child.once('exit', () => (ended ??= performance.now()))
  await until('the end', () => {
    if (!isAlive(pid)) ended ??= performance.now()
    return ended !== undefined
  })
  await until('all is clean', () => isClean(place, expected))
  const ms = performance.now() - (ended as number)
  // Whoever would do it once more has gone.
  await until('nobody is at work', () => isOver(place))
  expect(notes(place)).toEqual(expected)
  return ms
}

export function kill(pid: number, signal: NodeJS.Signals = 'SIGKILL'): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has ended.
  }
}
