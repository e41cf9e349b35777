import { AsyncResource } from 'node:async_hooks'
import { setMaxListeners } from 'node:events'
import type { Readable } from 'node:stream'
import { clearInterval, setImmediate, setInterval, setTimeout } from 'node:timers'
import { type HookContext, onExit, type Registration } from 'exodos/lib'
import type { Closed, Engine } from '../engine/engine.js'
import { Estimate } from '../engine/estimate.js'
import { Job, type RunOptions } from '../engine/job.js'
import { type PoolOptions, type Settings, settingsFor } from '../engine/options.js'
import { type Duration, milliseconds } from '../shared/duration.js'
import { checkOptions, invalid, PoolError, WorkerDiedError } from '../shared/errors.js'
import type { DataOf, TasksOf } from '../worker/definition.js'
import { Aborts } from './aborts.js'
import { makeEngine } from './engines.js'
import { Outputs } from './outputs.js'
import { Results } from './results.js'
import { Counts, type PoolStats } from './stats.js'

export interface CloseOptions {
  /** As `timeout.drain` of the pool, for this time: 0 hands back at once what has not been started. */
  drain?: Duration
  /** As `timeout.dispose` of the pool. */
  dispose?: Duration
}

export interface MapOptions extends Omit<RunOptions, 'key' | 'transfer' | 'onProgress'> {
  /** Tasks that run, or have run without their results having been read, at most. Default 64. */
  inFlight?: number
  /** Results in the order of the inputs. Default true; else as they come. */
  ordered?: boolean
}

type Input<F> = F extends (...args: infer Args) => unknown ? Args[0] : never
type Output<F> = F extends (...args: never) => infer Result ? Awaited<Result> : never
/** A task without input needs none. */
type InputAnd<F, O> = undefined extends Input<F> ? [input?: Input<F>, options?: O] : [input: Input<F>, options?: O]

/** Workers that run tasks. Made by `createPool`. */
export class Pool<T> implements AsyncDisposable {
  /** What the workers print, with `stdio: 'pipe'`, to be read; else null. They end when the pool has closed. */
  readonly stdout: Readable | null
  readonly stderr: Readable | null
  readonly #settings: Settings
  readonly #engine: Engine
  readonly #counts = new Counts()
  readonly #estimates = new Map<string, Estimate>()
  readonly #aborts = new Aborts((job, reason) => this.#engine.abort(job, reason))
  readonly #maps = new Set<Results<never, unknown>>()
  readonly #hooks: Registration[]
  readonly #outputs: readonly (Outputs | undefined)[]
  /** Keeps the event loop turning while there is something to do; workers themselves don't. */
  readonly #alive = setInterval(() => {}, 2 ** 31 - 1).unref()
  #isBusy = false
  #isClosing = false
  #closed: Promise<Closed> | undefined
  #quiet: (() => void)[] = []
  /** Resolves when tasks aren't waited for any more. */
  #hurry = () => {}
  readonly #hurried = new Promise<void>((resolve) => {
    this.#hurry = resolve
  })

  /** @internal */
  constructor(settings: Settings) {
    this.#settings = settings
    const [stdout, stderr] = settings.stdio === 'pipe' ? [new Outputs(), new Outputs()] : []
    this.stdout = stdout?.all ?? null
    this.stderr = stderr?.all ?? null
    this.#outputs = [stdout, stderr]
    this.#engine = makeEngine(settings, {
      busy: (isBusy) => this.#setBusy(isBusy),
      done: (latency, took) => this.#counts.add(latency, took),
      died: (words) => process.emitWarning(`${settings.name}: ${words}`, { code: 'EXODOS_WORKER_DIED' }),
      rerun: (job, exit) => this.#announceRerun(job, exit.signal ?? `exit code ${exit.code}`),
      output: (stream, output) => (stream === 'stdout' ? stdout : stderr)?.add(output),
    })
    const { name } = settings
    this.#hooks = [
      onExit((ctx) => this.#drain(ctx), { name: `${name}: tasks`, phase: 'drain', state: () => this.#engine.words() }),
      onExit((ctx) => this.#leave(ctx), { name, sync: () => this.#engine.closeSync(), state: () => this.#engine.words() }),
    ]
  }

  /** Resolves when the first `size.min` workers are ready; rejects when `init` of one has failed. Then none is started any more. */
  get ready(): Promise<void> {
    return this.#engine.ready
  }

  /**
   * Runs a task in one of the workers, and resolves with what it returns.
   *
   * Rejects with what the task has thrown (name, message, stack, properties and causes are kept); with the reason of
   * `signal`; with `ERR_EXODOS_TASK_TIMEOUT`, `ERR_EXODOS_QUEUE_FULL`, `ERR_EXODOS_POOL_CLOSED`, `ERR_EXODOS_UNCLONEABLE`,
   * `ERR_EXODOS_WORKER_INIT`; or with `ERR_EXODOS_WORKER_DIED` when the worker has died over it. It always settles.
   * The input is copied when it is sent, after this has returned.
   */
  run<K extends keyof T & string>(task: K, ...rest: InputAnd<T[K], RunOptions>): Promise<Output<T[K]>> {
    const [input, options] = rest
    return this.#run(task, input, options, this.#isClosing) as Promise<Output<T[K]>>
  }

  /**
   * Runs a task for each input, and gives the results as they come: `for await (const result of pool.map(…))`. Inputs are
   * taken as there is room for them: they may be endless. A task that fails ends it, and aborts what runs. It begins at once;
   * a pool that is closed meanwhile runs what is left of it first.
   */
  map<K extends keyof T & string>(
    task: K,
    inputs: Iterable<Input<T[K]>> | AsyncIterable<Input<T[K]>>,
    options: MapOptions = {},
  ): Results<Input<T[K]>, Output<T[K]>> {
    if (typeof task !== 'string') throw invalid('map(task)', 'the name of a task', task)
    checkOptions('map(task, inputs, options)', options, MAP_OPTIONS)
    const { inFlight = 64, ordered = true, signal, ...rest } = options
    if (typeof ordered !== 'boolean') throw invalid('options.ordered', 'true or false', ordered)
    checkRunOptions(signal ? { ...rest, signal } : rest, false)
    if (!Number.isInteger(inFlight) || inFlight < 1) throw invalid('options.inFlight', 'a whole number ≥ 1', inFlight)
    const isIterable =
      typeof inputs === 'object' && inputs !== null && (Symbol.iterator in inputs || Symbol.asyncIterator in inputs)
    if (!isIterable) throw invalid('map(task, inputs)', 'inputs that can be iterated', inputs)
    const isLate = this.#isClosing
    const end = new AbortController()
    // Each task listens to it once.
    setMaxListeners(0, end.signal)
    const each = { ...rest, signal: signal ? AbortSignal.any([signal, end.signal]) : end.signal }
    const isWatched = signal !== undefined || options.timeout !== undefined
    const run = (input: Input<T[K]>) => this.#run(task, input, each, isLate, { isWatched }) as Promise<Output<T[K]>>
    const pool = this
    const results = new Results(inputs, inFlight, ordered, run, end, {
      get isClosing() {
        return pool.#isClosing
      },
      over(map) {
        pool.#maps.delete(map)
        pool.#tellQuiet()
      },
    })
    this.#maps.add(results as never)
    return results
  }

  /** Runs a task once in each worker that there is, and resolves with all results. One that leaves before has none. */
  async broadcast<K extends keyof T & string>(task: K, ...rest: InputAnd<T[K], RunOptions>): Promise<Output<T[K]>[]> {
    const [input, options] = rest
    if (typeof task !== 'string') throw invalid('broadcast(task)', 'the name of a task', task)
    if (this.#isClosing) throw closed(this.#settings.name)
    const results: Promise<unknown>[] = []
    this.#engine.broadcast(() => {
      const job = this.#makeJob(task, input, options)
      results.push(job.result.catch(unlessGone))
      return job
    })
    return (await Promise.all(results)).filter((result) => result !== GONE) as Output<T[K]>[]
  }

  /** Resolves when fewer tasks wait than `maxQueue` allows. */
  room(): Promise<void> {
    return this.#engine.room(this.#settings.maxQueue)
  }

  stats(): PoolStats {
    return this.#counts.stats(this.#engine.workers(), this.#engine.queued, this.#engine.running)
  }

  /**
   * Takes no more tasks, waits for those it has, and for each worker to dispose of what it owns. What has not ended within
   * `timeout.drain` rejects with `ERR_EXODOS_POOL_CLOSED`; a worker that doesn't leave within `timeout.dispose` is killed, and
   * its receipts are done. A second call returns the first one's promise, and may shorten its `drain`. Never rejects but for bad input.
   *
   * It needn't be called: the exit of the program does it.
   */
  async close(options: CloseOptions = {}): Promise<Closed> {
    checkOptions('close(options)', options, ['drain', 'dispose'])
    const { drain = this.#settings.drain, dispose = this.#settings.dispose } = options
    return this.#close(milliseconds(drain, 'options.drain'), milliseconds(dispose, 'options.dispose'))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #run(
    task: string,
    input: unknown,
    options: RunOptions | undefined,
    isLate: boolean,
    map?: { isWatched: boolean },
  ): Promise<unknown> {
    try {
      if (isLate) throw closed(this.#settings.name)
      const { maxQueue, name } = this.#settings
      if (!map && maxQueue !== Number.POSITIVE_INFINITY && this.#engine.backlog >= maxQueue)
        throw new PoolError('ERR_EXODOS_QUEUE_FULL', `${name}: ${maxQueue} tasks wait; room() tells when one more can be taken`)
      const job = this.#makeJob(task, input, options)
      // The signal that ends a map is the pool's own.
      if (map) job.isWatched = map.isWatched
      this.#engine.submit(job)
      return job.result
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #makeJob(task: string, input: unknown, options: RunOptions | undefined): Job {
    if (typeof task !== 'string') throw invalid('run(task)', 'the name of a task', task)
    if (options !== undefined) checkRunOptions(options)
    let estimate = this.#estimates.get(task)
    if (!estimate) {
      estimate = new Estimate()
      this.#estimates.set(task, estimate)
    }
    const job = new Job(task, input, performance.now(), estimate, this.#counts)
    if (options) this.#attend(job, options)
    return job
  }

  #attend(job: Job, { signal, timeout, priority = 0, key, transfer, onProgress }: RunOptions): void {
    // It is called where the worker is heard, which was started by somebody else.
    const progress = onProgress && AsyncResource.bind(onProgress)
    Object.assign(job, { priority, key, transfer, onProgress: progress })
    if (timeout !== undefined) job.timeout = milliseconds(timeout, 'options.timeout')
    if (signal) this.#aborts.watch(signal, job)
    job.isWatched = signal !== undefined || timeout !== undefined
  }

  #close(drain: number, dispose: number, margin?: number): Promise<Closed> {
    // Who asks last, and has less time, is heard.
    void after(drain).then(this.#hurry)
    this.#closed ??= this.#finish(dispose, margin)
    return this.#closed
  }

  async #finish(dispose: number, margin: number | undefined): Promise<Closed> {
    this.#isClosing = true
    this.#stayAlive()
    for (const map of this.#maps) map.hurry()
    await Promise.race([this.#whenQuiet(), this.#hurried])
    const result = await this.#engine.close(closed(this.#settings.name), dispose, margin)
    for (const map of this.#maps) map.fail(closed(this.#settings.name))
    for (const hook of this.#hooks) hook.cancel()
    for (const output of this.#outputs) output?.close()
    clearInterval(this.#alive)
    return result
  }

  /** On the way out: others may still need results, so nothing is refused yet. */
  async #drain({ signal }: HookContext): Promise<void> {
    const overdue = new Promise<void>((resolve) => {
      if (signal.aborted) resolve()
      signal.addEventListener('abort', () => resolve())
    })
    await Promise.race([this.#whenStill(), overdue])
  }

  /** Resolves when nothing waits and nothing runs, though who reads the results of a map has had a turn. */
  async #whenStill(): Promise<void> {
    do {
      await this.#engine.idle()
      await new Promise((resolve) => setImmediate(resolve))
    } while (this.#isBusy)
  }

  async #leave(ctx: HookContext): Promise<void> {
    const left = Math.max(0, ctx.remaining())
    // Nobody outlives the program: the rest is for killing, and for seeing that all have gone.
    const dispose = Math.min(this.#settings.dispose, left * 0.6)
    ctx.result(await this.#close(0, dispose, left * 0.2))
  }

  /** Resolves when nothing waits, nothing runs, and no map has inputs left. */
  async #whenQuiet(): Promise<void> {
    for (;;) {
      await this.#engine.idle()
      if (this.#maps.size === 0) return
      await new Promise<void>((resolve) => this.#quiet.push(resolve))
    }
  }

  #tellQuiet(): void {
    for (const resolve of this.#quiet.splice(0)) resolve()
  }

  #setBusy(isBusy: boolean): void {
    if (!isBusy) this.#tellQuiet()
    if (isBusy === this.#isBusy) return
    this.#isBusy = isBusy
    this.#stayAlive()
  }

  #stayAlive(): void {
    if (this.#isBusy || this.#isClosing) this.#alive.ref()
    else this.#alive.unref()
  }

  #announceRerun({ task }: Job, how: string): void {
    this.#counts.rerun++
    process.emitWarning(`${this.#settings.name}: ${task} is run once more: its worker ended by ${how}`, {
      code: 'EXODOS_TASK_RERUN',
    })
  }
}

const RUN_OPTIONS = ['signal', 'timeout', 'priority', 'key', 'transfer', 'onProgress']
const MAP_OPTIONS = ['inFlight', 'ordered', 'signal', 'timeout', 'priority']

/** Throws for bad input; and the reason of a signal that is aborted already, for a task. */
function checkRunOptions(options: RunOptions, isTask = true): void {
  checkOptions('options', options, RUN_OPTIONS)
  const { signal, timeout, priority = 0, key, transfer, onProgress } = options
  if (typeof priority !== 'number' || Number.isNaN(priority)) throw invalid('options.priority', 'a number', priority)
  if (key !== undefined && typeof key !== 'string' && typeof key !== 'number')
    throw invalid('options.key', 'a string or a number', key)
  if (transfer !== undefined && !Array.isArray(transfer)) throw invalid('options.transfer', 'an array', transfer)
  if (onProgress !== undefined && typeof onProgress !== 'function') throw invalid('options.onProgress', 'a function', onProgress)
  if (timeout !== undefined) milliseconds(timeout, 'options.timeout')
  if (signal === undefined) return
  if (!(signal instanceof AbortSignal)) throw invalid('options.signal', 'an AbortSignal', signal)
  if (isTask && signal.aborted) throw signal.reason
}

const GONE = Symbol('a worker has left before it has begun')

function unlessGone(error: unknown): typeof GONE {
  if (error instanceof WorkerDiedError && error.started === false) return GONE
  throw error
}

const closed = (name: string) => new PoolError('ERR_EXODOS_POOL_CLOSED', `${name}: the pool is closed`)

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms).unref())

/** The pool of a file of workers: `PoolOf<typeof import('./image.worker.js')>`. */
export type PoolOf<M> = Pool<TasksOf<M>>

/** A pool's data are needed if its workers say what they are. */
export type DataOption<Data> = unknown extends Data ? { data?: unknown } : { data: Data }

type OptionsOf<M> = PoolOptions & DataOption<DataOf<M>>

/**
 * Makes a pool of workers of the file at `url`, which exports by default what `defineWorker` has returned:
 * `createPool<typeof import('./image.worker.js')>(new URL('./image.worker.js', import.meta.url), { size: 4 })`.
 *
 * Each worker owns what `init` has made, and gives it back once, by `dispose`, whichever way it goes. A pool that is never
 * closed is closed by the exit of the program: running and queued tasks are finished in the phase `drain`, workers dispose of
 * what they own in `release`, where a hook registered now would be called; a program that was killed is missed by its workers,
 * which leave by themselves. A pool with nothing to do doesn't keep the program running.
 *
 * Throws `ERR_EXODOS_INVALID_ARG` for bad input, and `ERR_EXODOS_UNCLONEABLE` for data that can't be cloned.
 */
export function createPool<M>(
  url: URL | string,
  ...[options]: unknown extends DataOf<M> ? [options?: OptionsOf<M>] : [options: OptionsOf<M>]
): PoolOf<M> {
  return new Pool<TasksOf<M>>(settingsFor(url, (options ?? {}) as PoolOptions))
}
