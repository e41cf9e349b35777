import {
  type BigIntStats,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchmodSync,
  fstatSync,
  lchmodSync,
  lstatSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs'
import type { Identity } from '../records/action.js'
import { identityFrom, isSame } from '../records/identity.js'
import type { Steps } from './steps.js'

const { O_RDONLY, O_DIRECTORY, O_NOFOLLOW } = constants
/** A descriptor that only names a file, and needs no right to read it. Linux's number on all processors that Node runs on. */
const O_PATH = 0o10000000

/** Linux: names are reached through the open directory that they are in, whatever has become of its path. */
let byDescriptor: boolean | undefined
function isByDescriptor(): boolean {
  byDescriptor ??= process.platform === 'linux' && isPermitted('/proc/self/fd/3') && existsSync('/proc/self/fd')
  return byDescriptor
}

/** Node's permission model compares names, and these aren't those of the files. */
function isPermitted(path: string): boolean {
  const { permission } = process as { permission?: { has(scope: string, path: string): boolean } }
  return permission === undefined || (permission.has('fs.read', path) && permission.has('fs.write', path))
}

/** Open directories are limited; what lies deeper is moved up first. */
const DEEPEST = 32
/** So often, in all, something is looked at again because somebody changed it meanwhile. */
const PATIENCE = 1000
/** Entries between two chances for the event loop. */
const STRIDE = 256

/** Bytes where names are bytes. */
type Path = string | Buffer

/** A directory that is being emptied. */
interface Level {
  /** In the directory above it. */
  readonly name: string
  /** Put before a name, it reaches an entry. */
  readonly at: string
  readonly fd: number | undefined
  /** Still to be removed. */
  readonly names: string[]
  /** Something in it can't be removed, so it can't either. */
  stays: boolean
}

/**
 * Removes all that is in a directory, and says in words what it left alone: mount points; all of it when the directory isn't
 * the one meant. The first error is thrown at the end, when all else has gone.
 *
 * A symbolic link is removed and never followed, not even one that takes the place of a directory under our hands: a directory is
 * opened with O_NOFOLLOW, and its entries are reached through /proc/self/fd/<descriptor>/. Elsewhere Node has nothing like
 * that. There each directory is first moved to the top of the tree, under a name that nobody knows, and then looked at and
 * emptied by its path: who exchanges the directory of the old name exchanges nothing of ours. Only who watches the top of
 * the tree could be in time.
 */
export function* empty(path: string, identity?: Identity, byDescriptor = isByDescriptor()): Steps<string[]> {
  const walk = new Walk(path, byDescriptor)
  try {
    if (!walk.begin(identity)) return [`${path} is not the one that was recorded`]
    for (let count = 1; walk.step(); count++) if (count % STRIDE === 0) yield { sleep: 0 }
  } finally {
    walk.close()
  }
  if (walk.errors.length > 0) throw walk.errors[0]
  return walk.left
}

class Walk {
  readonly left: string[] = []
  readonly errors: unknown[] = []
  private readonly levels: Level[] = []
  private readonly moved = new Set<string>()
  private device: bigint | undefined
  private patience = PATIENCE
  /** With one character a byte, any name comes back from `readdir` as it has to be given to `unlink`, be it UTF-8 or not. */
  private readonly encoding: 'latin1' | 'utf8'

  constructor(
    private readonly path: string,
    private readonly byDescriptor: boolean,
  ) {
    this.encoding = byDescriptor ? 'latin1' : 'utf8'
  }

  begin(identity: Identity | undefined): boolean {
    return this.enter(this.path, '', (stats) => {
      this.device = stats.dev
      return !identity || isSame(identityFrom(stats), identity)
    })
  }

  close(): void {
    for (const { fd } of this.levels) if (fd !== undefined) closeSync(fd)
  }

  /** One entry less, or one directory down or up; false when the top is done with. */
  step(): boolean {
    const level = this.levels.at(-1)
    const name = level?.names.pop()
    if (!level) return false
    if (name === undefined) this.leave(level)
    else this.attempt(level, name, () => unlink(this.reach(level, name)) || this.descend(level, name))
    return true
  }

  private descend(level: Level, name: string): void {
    // Before anything in it is touched: the kernel refuses this for a mount point.
    if (rmdir(this.reach(level, name))) return
    if (this.hasToMove(name)) this.move(level, name)
    else if (!this.enter(this.reach(level, name), name, ({ dev }) => dev === this.device)) this.leaveAlone(level, name)
  }

  private leave(level: Level): void {
    this.levels.pop()
    if (level.fd !== undefined) closeSync(level.fd)
    const above = this.levels.at(-1)
    if (!above) return
    if (level.stays) above.stays = true
    // Somebody has put something into it: once more.
    else this.attempt(above, level.name, () => rmdir(this.reach(above, level.name)) || this.again(above, level.name))
  }

  private attempt(level: Level, name: string, action: () => unknown): void {
    try {
      action()
    } catch (error) {
      const code = codeOf(error)
      if (code === 'ENOENT') return
      if (code === 'EBUSY' && isMountPoint(this.reach(level, name), level.at)) this.leaveAlone(level, name)
      // Was a directory, is something else.
      else if ((code === 'ENOTDIR' || code === 'ELOOP') && this.patience > 0) this.again(level, name)
      else {
        level.stays = true
        this.errors.push(error)
      }
    }
  }

  private again(level: Level, name: string): void {
    if (this.patience-- > 0) level.names.push(name)
    else this.attempt(level, name, () => rmdirSync(this.reach(level, name)))
  }

  private leaveAlone(level: Level, name: string): void {
    level.stays = true
    const names = this.levels.slice(1, this.levels.indexOf(level) + 1).map((each) => each.name)
    const inside = Buffer.from([...names, name].join('/'), this.encoding)
    this.left.push(`${this.path}/${inside} is a mount point`)
  }

  private hasToMove(name: string): boolean {
    if (this.byDescriptor) return this.levels.length > DEEPEST
    return this.levels.length > 1 || !this.moved.has(name)
  }

  private move(level: Level, name: string): void {
    const [top] = this.levels as [Level]
    const moved = `.exodos-${Math.random().toString(36).slice(2)}`
    const path = this.reach(level, name)
    unlocking(path, () => renameSync(path, this.reach(top, moved)))
    this.moved.add(moved)
    top.names.push(moved)
  }

  /** False when the directory isn't meant: it is as it was. */
  private enter(path: Path, name: string, isMeant: (stats: BigIntStats) => boolean): boolean {
    const { fd, stats } = this.byDescriptor ? open(path) : look(path)
    const at = fd === undefined ? `${path}/` : `/proc/self/fd/${fd}/`
    let names: string[] | undefined
    try {
      if (isMeant(stats)) {
        if ((Number(stats.mode) & 0o700) !== 0o700) unlock(path, fd)
        names = readdirSync(at, this.encoding)
        this.levels.push({ name, at, fd, names, stays: false })
      }
    } finally {
      if (!names && fd !== undefined) closeSync(fd)
    }
    return names !== undefined
  }

  private reach(level: Level, name: string): Path {
    return this.byDescriptor ? Buffer.from(level.at + name, 'latin1') : level.at + name
  }
}

/** Removes anything but a directory; false when it is one. */
export function unlink(path: Path): boolean {
  try {
    unlinkSync(path)
    return true
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT' || code === 'ENOTDIR') return true
    // What POSIX says, and Linux doesn't do.
    if (code === 'EISDIR' || (code === 'EPERM' && process.platform !== 'linux' && lstatSync(path).isDirectory())) return false
    throw error
  }
}

/** Removes an empty directory; false when there is something in it. */
export function rmdir(path: Path): boolean {
  try {
    rmdirSync(path)
    return true
  } catch (error) {
    const code = codeOf(error)
    if (code === 'ENOENT') return true
    if (code === 'ENOTEMPTY' || code === 'EEXIST') return false
    throw error
  }
}

/** Is it mounted there? Of the same file system, too, which only Linux knows. */
export function isMountPoint(path: Path, parent: Path): boolean {
  return mountOf(path) !== mountOf(parent)
}

function mountOf(path: Path): string | undefined {
  if (!isByDescriptor()) return String(lstatSync(path).dev)
  const fd = openSync(path, O_PATH | O_NOFOLLOW)
  try {
    return /^mnt_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))?.[1]
  } finally {
    closeSync(fd)
  }
}

function open(path: Path): { fd: number; stats: BigIntStats } {
  const fd = unlocking(path, () => openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW))
  return { fd, stats: fstatSync(fd, { bigint: true }) }
}

function look(path: Path): { fd: undefined; stats: BigIntStats } {
  const stats = lstatSync(path, { bigint: true })
  if (!stats.isDirectory()) throw Object.assign(new Error(`ENOTDIR: ${path}`), { code: 'ENOTDIR' })
  return { fd: undefined, stats }
}

/** Does it once more with all rights, if it needs them: to a directory of ours that takes them from us. */
function unlocking<T>(path: Path, action: () => T): T {
  try {
    return action()
  } catch (error) {
    if (codeOf(error) !== 'EACCES') throw error
    unlock(path)
    return action()
  }
}

/** Never through a symbolic link. */
function unlock(path: Path, fd?: number): void {
  if (fd !== undefined) fchmodSync(fd, 0o700)
  else if (isByDescriptor()) {
    const named = openSync(path, O_PATH | O_DIRECTORY | O_NOFOLLOW)
    try {
      chmodSync(`/proc/self/fd/${named}`, 0o700)
    } finally {
      closeSync(named)
    }
  } else if (process.platform === 'darwin') lchmodSync(path, 0o700)
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException).code
}
