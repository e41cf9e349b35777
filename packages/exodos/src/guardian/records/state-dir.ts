import { accessSync, constants, existsSync, lstatSync, mkdirSync, type Stats, statSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'

/** Where records are kept, or why they can't be. */
export type StateDir = { readonly path: string } | { readonly reason: string }

/**
 * The directory for the records of this user's processes: `$EXODOS_STATE_DIR`; else `exodos` in `$XDG_STATE_HOME`, in
 * `~/.local/state`; else `exodos-<uid>` in the directory for temporary files. Made if it isn't there, and if `isMade`. What somebody else
 * could have written there would be believed, so it is checked first: it must be a directory, ours, and writable by us
 * alone.
 */
export function findStateDir(configured = process.env.EXODOS_STATE_DIR, isMade = true): StateDir {
  // One that was asked for is the only one: nobody would look elsewhere.
  const places = configured ? [configured] : usualPlaces()
  const reasons: string[] = []
  for (const place of places) {
    const reason = prepare(place, isMade)
    if (reason === undefined) return { path: place }
    reasons.push(`${place}: ${reason}`)
  }
  return { reason: reasons.join('; ') }
}

function usualPlaces(): string[] {
  const { XDG_STATE_HOME } = process.env
  const uid = process.getuid?.() ?? 'user'
  return [
    ...(XDG_STATE_HOME && isAbsolute(XDG_STATE_HOME) && isOurs(XDG_STATE_HOME) ? [join(XDG_STATE_HOME, 'exodos')] : []),
    ...(home() ? [join(home(), '.local', 'state', 'exodos')] : []),
    join(tmpdir(), `exodos-${uid}`),
  ]
}

/** Some users have none, and there are those whose home is the root of everything. */
function home(): string {
  try {
    const path = homedir()
    return path === '/' || path === '/nonexistent' || !isOurs(path) ? '' : path
  } catch {
    return ''
  }
}

/** With `sudo -E` root would make directories in a user's home that the user can't write to afterwards. */
function isOurs(path: string): boolean {
  const uid = process.getuid?.()
  return uid === undefined || (statSync(path, { throwIfNoEntry: false })?.uid ?? uid) === uid
}

function prepare(path: string, isMade: boolean): string | undefined {
  if (!isAbsolute(path)) return 'is not an absolute path'
  try {
    if (isMade) make(path)
    const stats = lstatSync(path)
    const problem = distrust(stats)
    if (problem) return problem
    if (!stats.isDirectory()) return 'is not a directory'
    accessSync(path, constants.W_OK | constants.X_OK)
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  }
}

/** Node's own `recursive` never returns where the system says ENOENT of a directory whose parent is there, as in /proc. */
function make(path: string): void {
  if (existsSync(path)) return
  if (dirname(path) !== path) make(dirname(path))
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (error) {
    // Somebody else was faster.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

/** Why something in the file system can't be believed; undefined when only we can have written it. */
export function distrust(stats: Stats): string | undefined {
  if (stats.isSymbolicLink()) return 'is a symbolic link'
  if (!stats.isDirectory() && !stats.isFile()) return 'is neither a directory nor a file'
  // Windows has no such numbers.
  if (process.getuid === undefined) return undefined
  if (stats.uid !== process.getuid()) return 'belongs to somebody else'
  if ((stats.mode & 0o022) !== 0) return 'can be written to by others'
  return undefined
}
