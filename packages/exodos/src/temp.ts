/**
 * Temporary files and directories that are removed however the process ends, SIGKILL included. See `exodos/durable` for what
 * is promised.
 *
 * @packageDocumentation
 */
import { randomBytes } from 'node:crypto'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { checkOptions, ExodosTypeError, invalid } from './core/errors.js'
import { type DurableRecord, record } from './guardian/durable-record.js'
import { refusal } from './guardian/refusal.js'

export interface TempDirOptions {
  /** Begins the name. Default: that of the program. */
  prefix?: string
  /** The directory to make it in; it must be there. Default: the system's for temporary files. */
  parent?: string
  /** Rights, less those that the umask takes. Default 0o700 for directories, 0o600 for files. */
  mode?: number
  /** It is only removed by hand. Default false. */
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
  /** It stays, however the process ends. */
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
  { prefix = program(), parent = tmpdir(), mode, keep = false }: TempDirOptions,
  postfix: string,
  tree: boolean,
  create: (path: string) => void,
): Temp {
  checkPart('options.prefix', prefix)
  if (typeof parent !== 'string' || parent === '') throw invalid('options.parent', 'the path of a directory', parent)
  if (mode !== undefined && !(Number.isInteger(mode) && mode >= 0 && mode <= 0o7777))
    throw invalid('options.mode', 'rights, as 0o700', mode)
  if (typeof keep !== 'boolean') throw invalid('options.keep', 'true or false', keep)
  // 96 random bits: nobody guesses it, and nobody else has it.
  const path = join(resolve(parent), `${prefix}-${randomBytes(12).toString('base64url')}${postfix}`)
  const refused = refusal(path)
  if (refused)
    throw new ExodosTypeError(`options.parent: expected a directory where something may be removed, but ${path} ${refused}`)
  // First what is to be done, then the thing itself: nothing can be left.
  const made = record(face, { kind: 'path', path, tree, unique: true }, `remove ${path}`)
  try {
    create(path)
  } catch (error) {
    made.cancel()
    throw error
  }
  if (keep) made.cancel()
  return new TempPath(path, made)
}

class TempPath implements Temp {
  constructor(
    readonly path: string,
    private readonly record: DurableRecord,
  ) {}

  remove(): Promise<void> {
    return this.record.run()
  }

  removeSync(): void {
    this.record.runSync()
  }

  keep(): void {
    this.record.cancel()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.remove()
  }

  [Symbol.dispose](): void {
    this.removeSync()
  }
}

function checkPart(argument: string, part: unknown): void {
  if (typeof part !== 'string' || /[/\\\0]/.test(part)) throw invalid(argument, 'a part of a file name', part)
}

/** Somebody who finds it shall see whose it is. */
const program = () => basename(process.argv[1] ?? 'node').replace(/\.[cm]?[jt]s$/, '') || 'node'
