/**
 * Temporary files and directories that are removed however the process ends, SIGKILL included. See `exodos/durable` for what
 * is promised.
 *
 * @packageDocumentation
 */
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, resolve } from 'node:path'
import { checkOptions, ExodosTypeError, invalid } from './core/errors.js'
import { HAND_OVER, type HandOver } from './core/hook.js'
import { erase } from './guardian/actions/erase.js'
import { refusal } from './guardian/actions/refusal.js'
import { runSteps, runStepsSync } from './guardian/actions/steps.js'
import { Durable } from './guardian/durable.js'
import type { PathAction } from './guardian/records/action.js'
import { identityOf } from './guardian/records/identity.js'
import { randomHex } from './system/random.js'
import { lookAfterThreads } from './tree/threads.js'

lookAfterThreads()

export interface TempDirOptions {
  /** Begins the name. Default: that of the program. */
  prefix?: string
  /** The directory to make it in; it must be there. Default: the system's for temporary files. */
  parent?: string
  /** Rights, less those that the umask takes. Default 0o700 for directories, 0o600 for files. */
  mode?: number
  /** It is only removed by `remove()` or `removeSync()`. Default false. */
  keep?: boolean
}

export interface TempFileOptions extends TempDirOptions {
  /** Ends the name, as `'.json'`. */
  postfix?: string
}

/** Something temporary; removed with all that is in it. */
export interface Temp extends AsyncDisposable, Disposable {
  /** Absolute. */
  readonly path: string
  /** Removes it now, in small steps. Rejects when it can't be removed: then it is tried again when the process has ended. */
  remove(): Promise<void>
  /** As `remove`, but before it returns; throws. */
  removeSync(): void
  /** It stays, however the process ends, and also at the end of a `using` block. */
  keep(): void
}

/**
 * Makes an empty directory with a random name, for this user alone, and removes it with all that is in it when the process
 * ends: on every way out, SIGKILL, a crash and the loss of the guardian included.
 *
 * Throws `ERR_EXODOS_INVALID_ARG` for bad input, `ERR_EXODOS_RECORD` when it can't be written down that it is to be removed,
 * as on a full disk, and the system's error when it can't be made.
 */
export function tempDir(options: TempDirOptions = {}): Temp {
  checkOptions('tempDir(options)', options, ['prefix', 'parent', 'mode', 'keep'])
  return make(tempDir, options, '', true, (path) => mkdirSync(path, { mode: options.mode ?? 0o700 }))
}

/** Makes an empty file with a random name, for this user alone; else as `tempDir`. */
export function tempFile(options: TempFileOptions = {}): Temp {
  checkOptions('tempFile(options)', options, ['prefix', 'postfix', 'parent', 'mode', 'keep'])
  const { postfix = '', mode = 0o600 } = options
  checkPart('options.postfix', postfix)
  return make(tempFile, options, postfix, false, (path) => closeSync(openSync(path, 'wx', mode)))
}

function make(
  face: (...args: never[]) => unknown,
  options: TempDirOptions,
  postfix: string,
  tree: boolean,
  create: (path: string) => void,
): Temp {
  const { prefix = program(), parent = tmpdir(), mode, keep = false } = options
  const argument = options.parent === undefined ? 'the directory for temporary files' : 'options.parent'
  checkPart('options.prefix', prefix)
  if (typeof parent !== 'string' || parent === '') throw invalid('options.parent', 'the path of a directory', parent)
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o7777))
    throw invalid('options.mode', 'rights, as 0o700', mode)
  if (typeof keep !== 'boolean') throw invalid('options.keep', 'true or false', keep)
  // 96 bits: nobody guesses it, and nobody else has it.
  const path = resolve(parent, `${prefix}${prefix && '-'}${randomHex(12)}${postfix}`)
  const refused = refusal(path, { identity: NOBODY, isUnique: true })
  if (refused)
    throw new ExodosTypeError(`${argument}: expected a directory where something may be removed, but ${path} ${refused}`)
  const action: PathAction = { kind: 'path', path, tree, unique: true }
  if (keep) {
    create(path)
    return new TempPath(action, undefined)
  }
  // First what is to be done, then the thing itself: nothing can be left.
  const made = new Durable(face, action)
  try {
    create(path)
  } catch (error) {
    made.cancel()
    throw error
  }
  try {
    // Where everybody may write to somebody could put something else in its place.
    if (refusal(path, { isUnique: true })) made.amend({ ...action, identity: identityOf(path) })
  } catch (error) {
    made.runSync()
    throw error
  }
  return new TempPath(action, made)
}

/** What is made here gets an identity where it needs one. */
const NOBODY = { dev: '', ino: '', birth: '' }

class TempPath implements Temp {
  readonly path: string

  /** Without a record it is kept. */
  constructor(
    private readonly action: PathAction,
    private record: Durable<PathAction> | undefined,
  ) {
    this.path = action.path
  }

  readonly remove = async (): Promise<void> => {
    if (this.record) await this.record.run()
    else await runSteps(erase(this.path, this.action))
  }

  readonly removeSync = (): void => {
    if (this.record) this.record.runSync()
    else runStepsSync(erase(this.path, this.action))
  }

  readonly keep = (): void => {
    this.record?.cancel()
    this.record = undefined
  }

  /** @internal For a scope that owns it. */
  get [HAND_OVER](): HandOver | undefined {
    return this.record?.[HAND_OVER]
  }

  /** Who has called `keep` in a block with `using` wants it to be there after it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.record) await this.remove()
  }

  [Symbol.dispose](): void {
    if (this.record) this.removeSync()
  }
}

function checkPart(argument: string, part: unknown): void {
  if (typeof part !== 'string' || /[/\\\0]/.test(part)) throw invalid(argument, 'a part of a file name', part)
}

/** Somebody who finds it shall see whose it is. */
let named: string | undefined
function program(): string {
  named ??= basename(process.argv[1] ?? 'node').replace(/\.[cm]?[jt]s$|[^\w.-]+/g, '') || 'node'
  return named
}
