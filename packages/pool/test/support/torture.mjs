/**
 * Does what programs of pool operations say, one after another, and tells of each what has not held. Programs come as lines of
 * JSON on stdin, what has become of them goes as lines to stdout. Arguments: engine.
 */
import { subscribe } from 'node:diagnostics_channel'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises'
import { createPool } from '@exodos/pool'

const [, , engine] = process.argv
const isShared = engine !== 'processes'
/** Generous: a machine may be busy. All limits of the programs together are far below it. */
const BOUND = 60_000
const MOST_WORKERS = 20_000
/** What ends a worker, or has it ended. */
const LETHAL = ['exit', 'kill', 'uncaught', 'bomb', 'hang', 'never']

const threads = new Set()
process.on('worker', (worker) => {
  threads.add(worker)
  worker.once('exit', () => threads.delete(worker))
})
/** All that were ever started; the guardian is among them. */
let children = []
subscribe('child_process', ({ process }) => children.push(process))
let warnings = []
process.on('warning', (warning) => warnings.push(warning))
let unhandled = []
process.on('unhandledRejection', (error) => unhandled.push(error))

let programs = 0

async function perform({ options, receipts, named, steps, filler, fillers, close, pause }) {
  const dir = `${process.cwd()}/${++programs}`
  mkdirSync(dir)
  warnings = []
  children = []
  unhandled = []
  const wrong = []
  const counts = { tasks: 0, ok: 0, kills: 0, aborts: 0, timeouts: 0, reruns: 0, twice: 0, unsettled: 0, workers: 0, closed: 0 }

  /** One for each task, by its id. `outcome` is undefined until its promise has settled. */
  const tasks = []
  const open = new Set()
  const watched = (promise) => {
    const settled = promise.finally(() => open.delete(settled)).catch((error) => wrong.push(`${error}`))
    open.add(settled)
  }
  const most = steps.length * fillers * 2 + 10_000
  const words = (count) => new Int32Array(new SharedArrayBuffer(4 * count))
  const notes = isShared && {
    starts: words(most),
    inits: words(MOST_WORKERS),
    disposes: words(MOST_WORKERS),
    doomed: words(MOST_WORKERS),
  }
  const pool = createPool(new URL('./torture.worker.mjs', import.meta.url), {
    ...options,
    engine,
    data: { dir, receipts, notes, pause },
    stdio: 'ignore',
  })
  await pool.ready

  let isClosing = false
  const killed = []
  const make = (kind, ms) => {
    const task = { id: tasks.length, kind, isLate: isClosing, outcome: undefined }
    tasks.push(task)
    return { task, input: { id: task.id, kind, ms }, name: named ? kind : 'any' }
  }
  const run = ({ do: _, kind, ms = 0, abort, ...rest }) => {
    const { task, input, name } = make(kind, ms)
    Object.assign(task, rest, abort !== undefined && { abort })
    const controller = abort === undefined ? undefined : new AbortController()
    // Before it is given, in the same turn, or later.
    if (abort === 'before') controller.abort(new Error('aborted by the caller'))
    if (kind === 'uncloneable') input.fn = () => {}
    const onProgress =
      kind === 'tells' ? (id) => id === task.id || wrong.push(`${task.id} is told the progress of ${id}`) : undefined
    const given = { ...rest, ...(controller && { signal: controller.signal }), ...(onProgress && { onProgress }) }
    const promise = pool.run(name, input, given)
    if (abort === 'at once') controller.abort(new Error('aborted by the caller'))
    else if (typeof abort === 'number') setTimeout(() => controller.abort(new Error('aborted by the caller')), abort)
    watched(
      promise.then(
        (value) => {
          task.outcome = { value }
        },
        (error) => {
          task.outcome = { error }
        },
      ),
    )
  }
  const map = async ({ kind, ms, count, inFlight, ordered, stopAfter }) => {
    const own = []
    const inputs = function* () {
      for (let n = 0; n < count; n++) {
        const { task, input } = make(kind, ms)
        task.isOfMap = true
        own.push(task)
        yield input
      }
    }
    let read = 0
    try {
      for await (const id of pool.map(named ? kind : 'any', inputs(), { inFlight, ordered })) {
        const task = tasks[id]
        if (!own.includes(task) || (ordered && own[read] !== task)) wrong.push(`map: ${id} is result ${read}`)
        task.outcome = { value: id }
        if (++read === stopAfter) break
      }
      if (stopAfter === undefined && read !== count) wrong.push(`map: ${read} of ${count} results`)
    } catch (error) {
      if (!expected(error)) wrong.push(`map: ${error.stack}`)
    }
  }
  const broadcast = async ({ ms }) => {
    const { task, input } = make('slow', ms)
    task.isOfAll = true
    try {
      const ids = await pool.broadcast(named ? 'slow' : 'any', input)
      if (ids.some((id) => id !== task.id)) wrong.push(`broadcast: ${ids}`)
      task.results = ids.length
    } catch (error) {
      task.results = 0
      if (!expected(error)) wrong.push(`broadcast: ${error.stack}`)
    }
  }
  const acts = {
    run,
    map: (step) => watched(map(step)),
    broadcast: (step) => watched(broadcast(step)),
    burst: ({ kind, count }) => {
      for (let n = 0; n < count; n++) run({ kind })
    },
    wait: ({ ms }) => sleep(ms),
    settle: () => Promise.race([Promise.all(open), sleep(1000)]),
    room: () => Promise.race([pool.room(), sleep(1000)]),
    kill: ({ which }) => {
      const { workers } = pool.stats()
      const { pid, worker } = workers[which % workers.length] ?? {}
      if (pid === undefined) return
      killed.push(worker)
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended, and that isn't known yet.
      }
    },
  }

  let closing
  const end = async () => {
    isClosing = true
    const { drain } = close
    const [one, other] = await Promise.all([pool.close({ drain }), pool.close({ drain })])
    if (one !== other) wrong.push('two calls of close have two results')
    return one
  }
  const all = (async () => {
    for (const [at, step] of steps.entries()) {
      if (at === close.before) closing = end()
      for (let n = 0; n < fillers; n++) run({ kind: filler[n % filler.length] })
      await acts[step.do](step)
    }
    closing ??= end()
    const closed = await closing
    await Promise.all(open)
    return closed
  })()
  const closed = await Promise.race([all, sleep(BOUND, undefined, { ref: false })])
  counts.tasks = tasks.length
  counts.unsettled = open.size
  if (!closed) {
    const pending = tasks.filter(({ outcome, results, isOfMap }) => !outcome && results === undefined && !isOfMap)
    wrong.push(`${open.size} promises are open after ${BOUND} ms: ${JSON.stringify(pending.slice(0, 5))}`)
    return { wrong, counts, stats: pool.stats() }
  }
  await turn()

  // What is left.
  const seen = notes || readNotes(dir)
  for (const error of unhandled) wrong.push(`nobody has handled ${error?.stack}`)
  for (const warning of warnings)
    if (!['EXODOS_TASK_RERUN', 'EXODOS_WORKER_DIED'].includes(warning.code)) wrong.push(`warning: ${warning.stack}`)
  counts.reruns = warnings.filter(({ code }) => code === 'EXODOS_TASK_RERUN').length
  if (threads.size > 0) wrong.push(`${threads.size} threads are left`)
  for (const { pid, exitCode, signalCode, spawnargs } of children)
    if (spawnargs.at(-1)?.endsWith('torture.worker.mjs') && exitCode === null && signalCode === null) wrong.push(`${pid} is left`)
  for (const worker of seen.inits.keys()) {
    const inits = seen.inits[worker] ?? 0
    const disposes = seen.disposes[worker] ?? 0
    // SIGKILL can't be survived; all else can.
    const isDoomed = !isShared && (seen.doomed[worker] > 0 || killed.includes(worker))
    if (inits > 1 || disposes > inits || (disposes < inits && !isDoomed))
      wrong.push(`worker ${worker}: ${inits} inits, ${disposes} disposes`)
    counts.workers += inits
  }
  if (receipts)
    for (const until = performance.now() + 15_000; resources(dir).length > 0; await sleep(10))
      if (performance.now() > until) {
        wrong.push(`receipts not done: ${resources(dir)}`)
        break
      }

  // Each task.
  let ok = 0
  let handedBack = 0
  for (const task of tasks) {
    const starts = seen.starts[task.id] ?? 0
    const problem = verdict(task, starts, options.onCrash)
    if (problem) wrong.push(`${JSON.stringify({ ...task, outcome: told(task.outcome) })}: ${problem}, started ${starts} times`)
    if (starts === 2 && !task.isOfAll) counts.twice++
    const { value, error } = task.outcome ?? {}
    if (value !== undefined) ok++
    if (LETHAL.includes(task.kind)) counts.kills += starts
    if (error?.message === 'aborted by the caller') counts.aborts++
    if (error?.code === 'ERR_EXODOS_TASK_TIMEOUT') counts.timeouts++
    if (error?.code === 'ERR_EXODOS_POOL_CLOSED') counts.closed++
    if (starts === 0 && (task.isOfMap || (!task.isLate && error?.code === 'ERR_EXODOS_POOL_CLOSED'))) handedBack++
  }
  counts.kills += killed.length
  counts.ok = ok
  if (counts.twice > counts.reruns) wrong.push(`${counts.twice} ran twice, ${counts.reruns} were announced`)
  if (counts.twice > counts.kills) wrong.push(`${counts.twice} ran twice, of ${counts.kills} kills`)

  // Figures.
  const stats = pool.stats()
  const of = tasks.reduce((sum, task) => sum + (task.results ?? 0), 0)
  if (stats.workers.length + stats.queued + stats.running > 0) wrong.push(`stats: ${JSON.stringify(stats)}`)
  // Those that were aborted have failed before they have ended.
  if (stats.latency.count !== closed.tasksDone || stats.done > closed.tasksDone)
    wrong.push(`stats: done ${stats.done}, failed ${stats.failed}, times ${stats.latency.count}; closed: ${closed.tasksDone}`)
  if (stats.rerun !== counts.reruns) wrong.push(`stats: ${stats.rerun} run again, ${counts.reruns} announced`)
  if (stats.done < ok + of) wrong.push(`stats: done ${stats.done}, ${ok + of} were ok`)
  if (closed.tasksHandedOver > handedBack + tasks.filter(({ isOfAll }) => isOfAll).length * options.size.max)
    wrong.push(`${closed.tasksHandedOver} handed over, ${handedBack} never ran`)
  const inits = sum(seen.inits)
  const left = closed.disposed + closed.rescued + closed.killed
  if (left > inits || closed.disposed > sum(seen.disposes)) wrong.push(`${inits} inits; closed: ${JSON.stringify(closed)}`)
  rmSync(dir, { recursive: true, force: true })
  return { wrong: wrong.slice(0, 10), counts }
}

const sum = (values) => values.reduce((all, each) => all + (each ?? 0), 0)
const resources = (dir) => readdirSync(dir).filter((name) => name.startsWith('resource'))
const told = (outcome) => (outcome?.error ? { error: `${outcome.error}`, started: outcome.error.started } : outcome)

function readNotes(dir) {
  const seen = { starts: [], inits: [], disposes: [], doomed: [] }
  const lines = existsSync(`${dir}/notes`) ? readFileSync(`${dir}/notes`, 'latin1').split('\n') : []
  for (const line of lines.filter(Boolean)) {
    const [what, at] = line.split(' ')
    seen[what][at] = (seen[what][at] ?? 0) + 1
  }
  return seen
}

/** What a map or a broadcast may reject with. */
const expected = (error) => verdict({ kind: '', outcome: { error }, isAny: true }, 1, 'retry') === undefined

/** What is wrong about a task that has been started so often, if anything. */
function verdict(task, starts, onCrash) {
  const { id, kind, outcome, results, isLate, isAny } = task
  const isRetried = onCrash === 'retry'
  if (task.isOfAll) return results > starts ? `${results} results` : undefined
  if (starts > (isRetried ? 2 : 1)) return 'too often'
  if (!outcome) return task.isOfMap ? undefined : 'not settled'
  const { value, error } = outcome
  if (isLate && !task.isOfMap) return error?.code === 'ERR_EXODOS_POOL_CLOSED' && starts === 0 ? undefined : 'after the end'
  if (!error) return value === id && starts > 0 ? undefined : 'another result'
  const is = (holds) => (isAny || holds ? undefined : 'not so')
  switch (error.code) {
    case 'ERR_EXODOS_POOL_CLOSED':
      return undefined
    case 'ERR_EXODOS_QUEUE_FULL':
      return is(starts === 0)
    case 'ERR_EXODOS_TASK_TIMEOUT':
      return is(task.timeout > 0)
    case 'ERR_EXODOS_UNCLONEABLE':
      return is(kind === 'uncloneable' ? starts === 0 : kind === 'unclone' && starts > 0)
    case 'ERR_EXODOS_WORKER_INIT':
      return is(starts === 0 || isRetried)
    case 'ERR_EXODOS_WORKER_DIED':
      if (error.started === false) return is(starts === 0 && onCrash === 'reject')
      return is(error.started === 'unknown' || starts > 0)
  }
  if (error.message === 'aborted by the caller') return is(task.abort === 'before' ? starts === 0 : task.abort !== undefined)
  if (error.name === 'RangeError') return is(kind === 'throw' && starts > 0)
  // It was asked to end, as its worker left.
  if (error.name === 'AbortError') return is(kind === 'slow' && starts > 0)
  return 'another error'
}

for await (const line of createInterface({ input: process.stdin })) console.log(JSON.stringify(await perform(JSON.parse(line))))
