import { ExodosError } from '../core/errors.js'
import type { Registration } from '../core/hook.js'
import { register } from '../process/face.js'
import { act } from './actions.js'
import { Guardian, type GuardianOptions } from './guardian.js'
import type { Action, Outcome } from './record.js'
import { runSteps, runStepsSync } from './steps.js'

/** A cleanup that is written down. */
export interface DurableRecord extends AsyncDisposable {
  /** Does it now, once. Rejects when it can't be done: then it is tried again when the process has ended. */
  run(): Promise<void>
  /** As `run`, but before it returns; throws. */
  runSync(): void
  /** It is never done; once this has returned not even if the process is killed. */
  cancel(): void
}

/** One of which more may become known. */
export interface Amendable<A extends Action> extends DurableRecord {
  amend(action: A): void
}

let guardian: Guardian | undefined
let options: GuardianOptions = { durability: 'process' }

/** The guardian of this thread; made with the first record. */
export const theGuardian = () => {
  if (!guardian || guardian.isOver) guardian = new Guardian(options)
  return guardian
}

/** False when there is a guardian already. */
export function configureGuardian(given: GuardianOptions): boolean {
  if (guardian) return false
  options = { ...options, ...given }
  return true
}

/**
 * Writes an action down. It is done on the way out where a hook that was registered now would be called; or by the guardian,
 * when it is too late for a hook.
 */
export function record<A extends Action>(face: (...args: never[]) => unknown, action: A, name: string): Amendable<A> {
  const { records } = theGuardian()
  const id = write(() => records.add(action))
  let latest = action
  let running: Promise<void> | undefined
  let isOver = false
  const over = (outcome: Outcome) => {
    if (isOver) return
    isOver = true
    records.remove(id)
    if ('left' in outcome) process.emitWarning(`${name}: ${outcome.left}`, { code: 'EXODOS_LEFT_ALONE' })
  }
  const start = async () => {
    if (isOver) return
    running ??= runSteps(act(latest))
      .then(over)
      .finally(() => {
        running = undefined
      })
    await running
  }
  const finish = () => {
    if (!isOver) over(runStepsSync(act(latest)))
  }
  const hook = hookOf(face, start, finish, name)
  return {
    run() {
      hook?.cancel()
      return start()
    },
    runSync() {
      hook?.cancel()
      finish()
    },
    cancel() {
      hook?.cancel()
      isOver = true
      records.remove(id)
    },
    amend(action) {
      if (isOver) return
      latest = action
      write(() => records.amend(id, action))
    },
    [Symbol.asyncDispose]() {
      return this.run()
    },
  }
}

function hookOf(
  face: (...args: never[]) => unknown,
  start: () => Promise<void>,
  sync: () => void,
  name: string,
): Registration | undefined {
  try {
    return register(true, face, start, { name, sync }, true)
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_EXODOS_CLOSED') return undefined
    throw error
  }
}

function write<T>(act: () => T): T {
  try {
    return act()
  } catch (error) {
    if (error instanceof ExodosError || error instanceof TypeError) throw error
    throw Object.assign(new ExodosError('ERR_EXODOS_RECORD', `can't be written down: ${(error as Error).message}`), {
      cause: error,
    })
  }
}
