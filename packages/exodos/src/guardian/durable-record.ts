import { ExodosError } from '../core/errors.js'
import type { Registration } from '../core/hook.js'
import { register } from '../process/face.js'
import { act } from './actions.js'
import { Guardian, type GuardianOptions, withInherited } from './guardian.js'
import type { Records } from './journal.js'
import { type Action, type Outcome, wordsFor } from './record.js'
import { findStateDir } from './state-dir.js'
import { runSteps, runStepsSync } from './steps.js'

/** A cleanup that is written down. */
export interface DurableRecord extends AsyncDisposable, Disposable {
  /** Does it now, once. Rejects when it can't be done: then it is tried again when the process has ended. */
  run(): Promise<void>
  /** As `run`, but before it returns; throws. */
  runSync(): void
  /** It is never done; once this has returned not even if the process is killed. */
  cancel(): void
}

let guardian: Guardian | undefined
let options: GuardianOptions = {}

/** The guardian of this thread; made with the first record. */
export const theGuardian = () => {
  if (!guardian || guardian.isOver) guardian = new Guardian(options)
  return guardian
}

/** Where records are kept, or would be. */
export function stateDir(): string | undefined {
  if (guardian) return guardian.status().stateDir
  const found = findStateDir(withInherited(options).stateDir)
  return 'path' in found ? found.path : undefined
}

/** False when there is a guardian already. */
export function configureGuardian(given: GuardianOptions): boolean {
  if (guardian) return false
  options = { ...options, ...given }
  return true
}

type Face = (...args: never[]) => unknown

/**
 * An action that is written down. It is done on the way out where a hook that was registered now would be called; or by the
 * guardian, when it is too late for a hook.
 */
export class Durable<A extends Action> implements DurableRecord {
  private readonly records: Records
  private readonly id: number
  private readonly hook: Registration | undefined
  private isOver = false
  private running: Promise<void> | undefined

  constructor(
    face: Face,
    protected action: A,
    private readonly name = wordsFor(action),
  ) {
    this.records = theGuardian().records
    this.id = write(() => this.records.add(action))
    try {
      const sync = () => this.finish()
      this.hook = register(true, face, () => this.start(), { name, sync }, true)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ERR_EXODOS_CLOSED') return
      this.records.remove(this.id)
      throw error
    }
  }

  readonly run = (): Promise<void> => {
    this.hook?.cancel()
    return this.start()
  }

  readonly runSync = (): void => {
    this.hook?.cancel()
    this.finish()
  }

  readonly cancel = (): void => {
    this.hook?.cancel()
    this.isOver = true
    this.records.remove(this.id)
  };

  [Symbol.asyncDispose](): Promise<void> {
    return this.run()
  }

  [Symbol.dispose](): void {
    this.runSync()
  }

  /** @internal `HAND_OVER`: a scope owns it. The record stays written down. */
  'exodos.handOver'(): void {
    this.hook?.cancel()
  }

  /** More is known of it now. */
  amend(action: A): void {
    if (this.isOver) return
    write(() => this.records.amend(this.id, action))
    this.action = action
  }

  private async start(): Promise<void> {
    if (this.isOver) return
    this.running ??= runSteps(act(this.action))
      .then((outcome) => this.over(outcome))
      .finally(() => {
        this.running = undefined
      })
    await this.running
  }

  private finish(): void {
    if (!this.isOver) this.over(runStepsSync(act(this.action)))
  }

  private over(outcome: Outcome): void {
    if (this.isOver) return
    this.isOver = true
    this.records.remove(this.id)
    if ('left' in outcome) process.emitWarning(`${this.name}: ${outcome.left}`, { code: 'EXODOS_LEFT_ALONE' })
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
