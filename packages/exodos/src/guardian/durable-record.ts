import { register } from '../process/face.js'
import { act } from './actions.js'
import { Guardian, type GuardianOptions } from './guardian.js'
import type { Action, Outcome } from './record.js'
import { runSteps, runStepsSync } from './steps.js'

/** A cleanup that is written down. */
export interface DurableRecord extends AsyncDisposable {
  /** Does it now, once. Rejects when it can't be done: then it is tried again after the process has ended. */
  run(): Promise<void>
  /** As `run`, before it returns. */
  runSync(): void
  /** It is never done; once this has returned not even if the process is killed. */
  cancel(): void
}

/** One of which more may become known. */
export interface Amendable extends DurableRecord {
  amend(action: Action): void
}

let guardian: Guardian | undefined
let options: GuardianOptions = { durability: 'process' }

/** The guardian of this thread; made with the first record. */
export const theGuardian = () => {
  guardian ??= new Guardian(options)
  return guardian
}

/** False when there is a guardian already. */
export function configureGuardian(given: GuardianOptions): boolean {
  if (guardian) return false
  options = { ...options, ...given }
  return true
}

/** Writes an action down. It is done on the way out where a hook that was registered now would be called. */
export function record(face: (...args: never[]) => unknown, action: Action, name: string): Amendable {
  const there = theGuardian()
  const id = there.add(action)
  let latest = action
  let running: Promise<void> | undefined
  let isOver = false
  const over = (outcome: Outcome) => {
    isOver = true
    there.remove(id)
    if ('left' in outcome) process.emitWarning(`${name}: ${outcome.left}`, { code: 'EXODOS_LEFT_ALONE' })
  }
  const start = async () => {
    if (isOver) return
    running ??= runSteps(act(latest)).then(over)
    await running
  }
  const finish = () => {
    if (!isOver) over(runStepsSync(act(latest)))
  }
  const hook = register(true, face, start, { name, sync: finish }, true)
  return {
    run() {
      hook.cancel()
      return start()
    },
    runSync() {
      hook.cancel()
      finish()
    },
    cancel() {
      hook.cancel()
      isOver = true
      there.remove(id)
    },
    amend(action) {
      latest = action
      there.amend(id, action)
    },
    [Symbol.asyncDispose]() {
      return this.run()
    },
  }
}
