import type { ChildProcess } from 'node:child_process'
import { parseDuration } from '../core/deadline.js'
import { ExodosError } from '../core/errors.js'
import { ofLeaving } from '../process/exit-request.js'
import { nextMark, TREE } from '../process/family.js'
import { isWorker } from '../process/leave.js'
import { builtin, EventEmitter, isExiting, realProcess } from '../process/real.js'
import { coordinator } from '../process/shared.js'
import { isSupervised, tellChild } from '../process/supervised.js'
import { ADOPTED, type Birth, Child, type ChildLike, type ChildSettings, isInExitOfChild, noteSignals } from './child.js'
import { joinCrew } from './crew.js'
import { addEnded, coverAll, lookAfterOrphans, spare } from './orphans.js'
import { stopChildren } from './stop.js'

/** A child has less time than its parent, so that it ends by itself before it is killed. */
const CHILDS_SHARE = 0.5

/** What Node's own `spawn` is given, deep inside. */
interface SpawnOptions {
  args?: readonly string[]
  envPairs?: string[]
  detached?: boolean
  stdio?: unknown
}

type Spawning = Omit<ChildProcess, 'spawn'> & { spawn(options: SpawnOptions): number; [BORN]?: Birth }

/** How a child was started: seen by one of the copies of exodos. */
const BORN = Symbol.for('exodos.born')
const MARKING = Symbol.for('exodos.marking')
const holder = EventEmitter as unknown as { [MARKING]?: { adopts: boolean } }

/** Marks the child processes that this thread starts from now on, so that all that descends from them can be found. */
export function markChildren(): void {
  if (holder[MARKING]) return
  const state = { adopts: false }
  holder[MARKING] = state
  const { subscribe } = builtin<typeof import('node:diagnostics_channel')>('node:diagnostics_channel')
  subscribe('child_process', (message) => attend((message as { process: Spawning }).process, state))
}

/** Stops each of them on the way out, and `first`, which is about to be started. */
export function adoptChildren(first: Spawning): void {
  markChildren()
  const state = holder[MARKING] as { adopts: boolean }
  state.adopts = true
  attend(first, state)
}

/** Node tells of a child before it is started: its environment can still be changed, by nobody but us. */
function attend(child: Spawning, state: { readonly adopts: boolean }): void {
  // By another copy, or by the one that was there before.
  if (Object.hasOwn(child, 'spawn')) return
  const { spawn } = child
  child.spawn = (options) => {
    delete (child as { spawn?: unknown }).spawn
    if (!isExiting()) refuse(options)
    const birth = mark(options, state.adopts)
    if (birth) {
      Object.defineProperty(child, BORN, { value: birth })
      noteSignals(child as unknown as ChildLike)
    }
    const result = spawn.call(child, options)
    if (birth && state.adopts && child.pid !== undefined) adopt(child as unknown as ChildLike)
    return result
  }
}

function adopt(child: ChildLike): void {
  try {
    watchOver(child, ADOPTED)
  } catch (error) {
    // The hooks have run: it is started in an 'exit' event, to outlive us.
    if ((error as { code?: unknown }).code !== 'ERR_EXODOS_CLOSED') throw error
  }
}

/** Changes the environment that a child is started with. Undefined for one that is to belong to nobody. */
function mark(options: SpawnOptions, adopts: boolean): Birth | undefined {
  options.envPairs ??= []
  const env = new Environment(options.envPairs)
  const ours = realProcess.env[TREE] ?? ''
  const theirs = env.get(TREE)
  if (theirs === '') return undefined
  const inherited = theirs ?? ours
  const isDaemon = adopts && options.detached === true && isUnconnected(options.stdio)
  if (isDaemon) {
    env.set(TREE, '')
    return { isDaemon }
  }
  const next = nextMark(inherited)
  const { grace, report } = coordinator().state.policy
  const ownReport = typeof report === 'string' && env.get('EXODOS_REPORT') === report ? nextReport(report) : undefined
  env.set(TREE, next ?? inherited)
  env.set('EXODOS_GRACE', `${Math.round(Math.min(grace * CHILDS_SHARE, graceOf(env.get('EXODOS_GRACE'))))}ms`)
  if (ownReport !== undefined) env.set('EXODOS_REPORT', ownReport)
  const isCovered = adopts && next !== undefined && inherited === ours && !isWorker()
  if (isCovered) coverAll()
  return { mark: next, clusterId: env.get('NODE_UNIQUE_ID'), report: ownReport, isCovered }
}

/** `NAME=value`, as Node hands them on: changed in place, since there are many and few are ours. */
class Environment {
  constructor(private readonly pairs: string[]) {}

  get(name: string): string | undefined {
    return this.pairs[this.indexOf(name)]?.slice(name.length + 1)
  }

  set(name: string, value: string): void {
    const at = this.indexOf(name)
    if (at < 0) this.pairs.push(`${name}=${value}`)
    else this.pairs[at] = `${name}=${value}`
  }

  private indexOf(name: string): number {
    return this.pairs.findIndex((pair) => pair.startsWith(name) && pair[name.length] === '=')
  }
}

let reports = 0

/** Of no other child, of whatever thread. */
function nextReport(report: string): string {
  const { threadId } = builtin<typeof import('node:worker_threads')>('node:worker_threads')
  return `${report}.${realProcess.pid}-${threadId}-${++reports}`
}

/** What the caller has set for it; what we were given ourselves is nothing of its own. */
function graceOf(text: string | undefined): number {
  if (text === undefined || text === realProcess.env.EXODOS_GRACE) return Number.POSITIVE_INFINITY
  try {
    return parseDuration(/^\d+$/.test(text) ? Number(text) : text, 'EXODOS_GRACE')
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** Does none of its streams lead to us? Node's documentation tells to start a daemon so. */
function isUnconnected(stdio: unknown): boolean {
  if (!Array.isArray(stdio)) return stdio === 'ignore'
  const numberOf = (stream: unknown) =>
    typeof stream === 'number' ? stream : (stream as { fd?: unknown } | null | undefined)?.fd
  return stdio.length > 2 && stdio.every((stream) => stream === 'ignore' || Number(numberOf(stream)) > 2)
}

/** What has been stopped on this way out, by what it was started with. */
const stoppedCommands = new Set<string>()

const commandOf = (words: readonly string[] = []) => JSON.stringify(words)

/** Outside of hooks so many children are started on the way out before somebody is taken for one that starts them anew. */
const MOST_LATE = 50
let late = 0

/**
 * Programs that keep workers start a new one for each that has ended: on the way out that would never come to an end. What
 * is thrown is swallowed where it reaches the top.
 */
function refuse({ args, envPairs, detached, stdio }: SpawnOptions): void {
  const there = coordinator()
  if (!there.leaving || there.call || (detached && isUnconnected(stdio))) return
  const isClusterWorker = envPairs?.some((pair) => pair.startsWith('NODE_UNIQUE_ID='))
  if (!isClusterWorker && !isInExitOfChild() && !stoppedCommands.has(commandOf(args)) && late++ < MOST_LATE) return
  throw ofLeaving(new ExodosError('ERR_EXODOS_CLOSED', `the process is leaving: ${args?.join(' ')} is not started anew`))
}

/** As soon as we leave: whoever starts a new worker for each that has crashed doesn't for those that end with us. */
function letGoOfWorkers(): void {
  const { workers = {} } = builtin<typeof import('node:cluster').default>('node:cluster')
  for (const worker of Object.values(workers)) if (worker) worker.exitedAfterDisconnect = true
}

/** Whoever waits for a child that is stopped gets an error: of `exec` with what was run, of execa as well. */
function isOfChild(error: unknown): boolean {
  const { cmd, command } = (error ?? {}) as Record<string, unknown>
  const text = typeof cmd === 'string' ? cmd : command
  return (
    typeof text === 'string' && [...stoppedCommands].some((words) => (JSON.parse(words) as string[]).join(' ').endsWith(text))
  )
}

const CHILD = Symbol.for('exodos.child')
type Watched = ChildLike & { [BORN]?: Birth; [CHILD]?: { leave(): void } }

const join = joinCrew<Child>({ name: 'children', stays: true }, function* (children, stopping) {
  for (const { process } of children) stoppedCommands.add(commandOf((process as unknown as ChildProcess).spawnargs))
  coordinator().state.isExpected = isOfChild
  return yield* stopChildren(children, stopping)
})

/** Has a child stopped on the way out. The last call decides how, and where it stands. */
export function watchOver(process: Watched, settings: ChildSettings, clusterId?: string): void {
  lookAfterOrphans()
  const before = process[CHILD]
  before?.leave()
  const child = new Child(process, settings, { ...process[BORN], ...(clusterId !== undefined && { clusterId }) })
  if (!settings.tree && child.birth.mark !== undefined) spare(child.birth.mark)
  const crew = join(child)
  const leave = () => {
    child.over()
    crew.leave()
  }
  Object.defineProperty(process, CHILD, { value: { leave }, configurable: true })
  if (child.birth.clusterId !== undefined) coordinator().state.exiting.signal.addEventListener('abort', letGoOfWorkers)
  if (!before) tellSupervisor(child)
  void child.ended.then(() => {
    crew.leave()
    if (child.isStopped) return
    child.takeReport()
    addEnded(child)
  })
}

function tellSupervisor(child: Child): void {
  if (!isSupervised) return
  const told = { pid: child.pid, parent: realProcess.pid }
  const { spawnargs = [] } = child.process as Partial<ChildProcess>
  tellChild({ ...told, at: Date.now(), command: spawnargs.join(' ') })
  void child.ended.then(() => tellChild({ ...told, at: Date.now(), ...child.exit() }))
}
