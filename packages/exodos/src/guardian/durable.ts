import { ExodosError } from '../core/errors.js'
import { HAND_OVER, type HandOver, type Registration } from '../core/hook.js'
import { register } from '../process/face.js'
import { coordinator } from '../process/shared.js'
import { act } from './actions/act.js'
import { runSteps, runStepsSync } from './actions/steps.js'
import { type Guardian, type GuardianOptions, guardianFor, withInherited } from './guardian.js'
import { type Action, type Outcome, wordsFor } from './records/action.js'
import type { Records } from './records/journal.js'
import { findStateDir } from './records/state-dir.js'

/** A cleanup that is written down. */
export interface DurableRecord extends AsyncDisposable, Disposable {
  /** Does it now, once. Rejects when it can't be done: then it is tried again when the process ends, and after that. */
  run(): Promise<void>
  /** As `run`, but before it returns; throws. */
  runSync(): void
  /** It is never done; once this has returned not even if the process is killed. */
  cancel(): void
}

let guardian: Guardian | undefined
let user: number | undefined
let options: GuardianOptions = {}

/** The guardian of this thread; made with the first record. */
export const theGuardian = () => {
  // Who has become another user since doesn't write down what root is to do.
  const uid = process.geteuid?.()
  if (!guardian || guardian.isOver || uid !== user) guardian = guardianFor(options)
  user = uid
  guardian.lookAfter()
  return guardian
}

/** Where records are kept, or would be. */
export function stateDir(): string | undefined {
  if (guardian) return guardian.stateDir
  const found = findStateDir(withInherited(options).stateDir, false)
  return 'path' in found ? found.path : undefined
}

/** False when there is a guardian already. */
export function configureGuardian(given: GuardianOptions): boolean {
  if (guardian) return false
  options = { ...options, ...given }
  return true
}

/** Milliseconds for what comes after the timeout of an action: killing it, and noting that. */
const MARGIN = 1000

function within<A extends Action>(action: A, most: number): A {
  return 'timeout' in action ? { ...action, timeout: Math.max(0, Math.min(action.timeout, most)) } : action
}

type Face = (...args: never[]) => unknown

/**
 * An action that is written down. It is done on the way out where a hook that was registered now would be called; or by the
 * guardian, when it is too late for a hook.
 */
export class Durable<A extends Action> implements DurableRecord {
  private readonly guardian: Guardian
  private readonly records: Records
  private readonly id: number
  private readonly hook: Registration | undefined
  /** Done, or cancelled. */
  isOver = false
  private running: Promise<void> | undefined

  constructor(
    face: Face,
    protected action: A,
    private readonly name = wordsFor(action),
  ) {
    this.guardian = theGuardian()
    this.records = this.guardian.records
    this.id = write(() => this.records.add(action))
    try {
      const sync = () => this.finish()
      const { grace } = coordinator().state.policy
      const limit = 'timeout' in action ? { timeout: Math.min(grace, action.timeout + MARGIN) } : {}
      this.hook = register(true, face, (ctx) => this.start(ctx.remaining()), { name, sync, ...limit }, true)
    } catch (error) {
      if ((error as { code?: unknown }).code === 'ERR_EXODOS_CLOSED') return
      this.records.remove(this.id)
      throw error
    }
  }

  readonly run = (): Promise<void> => {
    return this.start()
  }

  readonly runSync = (): void => {
    this.finish(true)
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

  /** @internal For a scope that owns it. The record stays written down. */
  get [HAND_OVER](): HandOver {
    return { name: this.name, take: () => this.hook?.cancel() }
  }

  /** More is known of it now. */
  amend(action: A): void {
    if (this.isOver) return
    write(() => this.records.amend(this.id, action))
    this.action = action
  }

  /** `remaining`: of a hook, in milliseconds. What takes longer ends within it, and isn't done twice side by side. */
  private async start(remaining?: number): Promise<void> {
    if (this.isOver) return
    const isByHand = remaining === undefined
    const action = isByHand ? this.action : within(this.action, Math.max(remaining / 2, remaining - MARGIN / 2))
    this.running ??= runSteps(act(action, this.guardian.isWanted), () => this.isOver)
      .then((outcome) => this.over(outcome, isByHand))
      .catch((error) => {
        // Cancelled meanwhile.
        if (!this.isOver) throw error
      })
      .finally(() => {
        this.running = undefined
      })
    await this.running
  }

  private finish(isByHand = false): void {
    if (!this.isOver) this.over(runStepsSync(act(this.action, this.guardian.isWanted)), isByHand)
  }

  private over(outcome: Outcome, isByHand: boolean): void {
    if (this.isOver) return
    if ('later' in outcome && isByHand) throw new Error(outcome.later)
    this.isOver = true
    this.hook?.cancel()
    if ('later' in outcome) return
    this.records.remove(this.id)
    if ('left' in outcome && !outcome.handedOver)
      process.emitWarning(`${this.name}: ${outcome.left}`, { code: 'EXODOS_LEFT_ALONE' })
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
