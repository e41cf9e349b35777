/**
 * Lock files that are given back however the process ends, SIGKILL included, and are taken over only from a holder that is
 * surely dead. See `exodos/durable` for what is promised.
 *
 * @packageDocumentation
 */
import { dirname, resolve } from 'node:path'
import { setInterval, setTimeout } from 'node:timers'
import { type Duration, parseDuration } from './core/deadline.js'
import { checkOptions, ExodosError, invalid } from './core/errors.js'
import { HAND_OVER } from './core/hook.js'
import { type Held, isStillHeld, newToken, release, tryAcquire } from './guardian/actions/lock-file.js'
import { Durable } from './guardian/durable.js'
import { isSurelyDead, type Owner, thisOwner } from './guardian/records/owner.js'
import { clock } from './process/clock.js'
import { ofLeaving } from './process/exit-request.js'
import { coordinator } from './process/shared.js'
import { lookAfterThreads } from './tree/threads.js'

lookAfterThreads()

export type { Duration } from './core/deadline.js'

export interface LockOptions {
  /** How long to wait for the present holder. Default 0; `Infinity` is allowed. */
  wait?: Duration
  /** Ends the wait; `lockFile` rejects with its reason. */
  signal?: AbortSignal
  /** Called once, within a second, when somebody has removed or replaced the file while we hold the lock. */
  onCompromised?: (error: ExodosError) => void
}

/** A lock that is held. */
export interface Lock extends AsyncDisposable, Disposable {
  /** Absolute. */
  readonly path: string
  /** False when it was released, or when somebody has removed or replaced the file. Looks at the file. */
  isHeld(): boolean
  /** Gives it back, once. */
  release(): Promise<void>
}

/** Milliseconds between two tries, at most. */
const LONGEST_PAUSE = 50
/** Milliseconds between two looks at a lock that we hold. */
const LOOK = 1000

/**
 * Takes a lock: a small file that names its holder, and is there as long as the lock is held. The lock is given back on every
 * way out; after SIGKILL or a crash by the guardian, or by the next one who wants it. A holder that is slow, stopped or
 * blocked keeps it: it is taken over only when its process, or worker thread, is surely dead. Whether one on another
 * machine is dead can't be known.
 *
 * Rejects with `ERR_EXODOS_LOCKED` when somebody else has it and `wait` is over, `ERR_EXODOS_LOCK` when the file is not a
 * lock, `ERR_EXODOS_CLOSED` when the process is leaving, `ERR_EXODOS_INVALID_ARG` for bad input, and the system's error, as
 * when its directory isn't there.
 */
export async function lockFile(path: string, options: LockOptions = {}): Promise<Lock> {
  checkOptions('lockFile(path, options)', options, ['wait', 'signal', 'onCompromised'])
  if (typeof path !== 'string' || path === '' || path.includes('\0')) throw invalid('lockFile(path)', 'the path of a file', path)
  const { wait = 0, signal, onCompromised } = options
  if (onCompromised !== undefined && typeof onCompromised !== 'function')
    throw invalid('options.onCompromised', 'a function', onCompromised)
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid('options.signal', 'an AbortSignal', signal)
  const patience = wait === Number.POSITIVE_INFINITY ? wait : parseDuration(wait, 'options.wait')
  signal?.throwIfAborted()

  const held = { path: resolve(path), token: newToken() }
  // First how to give it back, then the lock: it can't be left.
  const made = new Durable(lockFile, { kind: 'lock', ...held })
  try {
    await acquire(held, () => made.isOver, patience, signal)
  } catch (error) {
    made.cancel()
    throw error
  }
  if (onCompromised) watch(held, () => made.isOver, onCompromised)
  const lock: Lock = {
    path: held.path,
    isHeld: () => !made.isOver && isStillHeld(held),
    release: made.run,
    [Symbol.asyncDispose]: made.run,
    [Symbol.dispose]: made.runSync,
  }
  return Object.defineProperty(lock, HAND_OVER, { value: made[HAND_OVER] })
}

async function acquire(held: Held, isOver: () => boolean, patience: number, signal?: AbortSignal): Promise<void> {
  const { path, token } = held
  const end = clock.now() + patience
  for (let pause = 1; ; pause = Math.min(LONGEST_PAUSE, pause * 2)) {
    const result = attempt(path, token)
    if (isOver()) {
      // The exit hooks have run meanwhile, and nobody would give it back.
      release(held)
      const error = new ExodosError('ERR_EXODOS_CLOSED', `the exit hooks have run: ${path} is not locked any more`)
      // Who doesn't handle it has done nothing wrong: all come to an end.
      throw coordinator().state.exiting.signal.aborted ? ofLeaving(error) : error
    }
    if ('token' in result) return
    const left = end - clock.now()
    if (left <= 0) {
      throw new ExodosError('ERR_EXODOS_LOCKED', `${path} is held by ${wordsFor(result.by)}`)
    }
    // Not all at the same time.
    await sleep(Math.min(left, pause * (0.5 + Math.random())), signal)
  }
}

/** It may have gone from hand to hand while we looked. */
function wordsFor(owner: Owner | undefined): string {
  if (!owner) return 'another process'
  const here = thisOwner()
  if (owner.boot === here.boot && owner.namespace === here.namespace) return `process ${owner.pid}`
  return `process ${owner.pid} of another container or machine, or of before the last boot`
}

function attempt(path: string, token: string) {
  try {
    return tryAcquire(path, thisOwner(), isSurelyDead, token)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    throw Object.assign(new Error(`ENOENT: there is no directory ${dirname(path)} to lock ${path} in`), { code: 'ENOENT', path })
  }
}

function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      if (signal?.aborted) reject(signal.reason)
      else resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}

function watch(held: Held, isOver: () => boolean, compromised: (error: ExodosError) => void): void {
  const timer = setInterval(() => {
    if (!isOver() && isStillHeld(held)) return
    clearInterval(timer)
    if (isOver()) return
    compromised(new ExodosError('ERR_EXODOS_LOCK', `${held.path} was removed or replaced by somebody else`))
  }, LOOK)
  timer.unref()
}
