import { existsSync, readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { InUse } from '../actions/act.js'
import { readJournal } from '../records/lines.js'
import { isSurelyDead, parseOwner } from '../records/owner.js'

/** Of each kind of thing that is remembered: a program may run for years. */
const MOST = 1000

/** What owners that live have written down, for whoever does the records of a dead one. */
export class Living {
  /** Who has died meanwhile is looked after by somebody else. */
  private readonly lives = new Map<string, boolean>()
  private readonly owners = new Remembered((dir) => (existsSync(dir) ? readdirSync(dir) : []))
  private readonly journals = new Remembered(journalsIn)
  private readonly paths = new Remembered(pathsIn)

  constructor(
    private readonly state: string,
    private readonly dir: string,
    /** Its own don't count. */
    private readonly asker?: string,
  ) {}

  /** Has somebody recorded the path? Throws when it is something below it: both can't be had. */
  want(path: string): boolean {
    const living = this.owners.get(this.dir).filter((name) => this.isAlive(name))
    const journals = living.flatMap((name) => this.journals.get(join(this.dir, name)))
    const wants = journals.map((journal) => this.paths.get(journal).get(path))
    if (wants.includes('it')) return true
    if (wants.includes('below')) throw new InUse(`${path} holds what a process that lives has recorded`)
    return false
  }

  private isAlive(name: string): boolean {
    let lives = this.lives.get(name)
    if (lives === undefined) {
      const owner = parseOwner(name)
      lives = owner !== undefined && name !== this.asker && !isSurelyDead(owner, this.state)
      if (this.lives.size > MOST) this.lives.clear()
      this.lives.set(name, lives)
    }
    return lives
  }
}

/** Milliseconds in which something may be written to twice without another time of change. */
const TICK = 50

/** What was read of a file or directory, as long as that is as it was. */
class Remembered<T> {
  private readonly known = new Map<string, { size: number; changed: number; isFresh: boolean; value: T }>()

  constructor(private readonly read: (path: string) => T) {}

  get(path: string): T {
    const { size, mtimeMs: changed } = statSync(path, { throwIfNoEntry: false }) ?? { size: 0, mtimeMs: 0 }
    const known = this.known.get(path)
    if (known && !known.isFresh && known.size === size && known.changed === changed) return known.value
    const isFresh = Date.now() - changed < TICK
    const value = this.read(path)
    if (this.known.size > MOST) this.known.clear()
    this.known.set(path, { size, changed, isFresh, value })
    return value
  }
}

/** All that its records are about, and the directories above that. */
function pathsIn(journal: string): ReadonlyMap<string, 'it' | 'below'> {
  const paths = new Map<string, 'it' | 'below'>()
  for (const { action } of readJournal(journal)) {
    if (!('path' in action)) continue
    for (let path = dirname(action.path); !paths.has(path); path = dirname(path)) paths.set(path, 'below')
    paths.set(action.path, 'it')
  }
  return paths
}

/** None where there is no such directory. */
export function journalsIn(dir: string): string[] {
  try {
    const entries = readdirSync(dir, { withFileTypes: true })
    return entries.filter((entry) => entry.isFile() && entry.name.endsWith('.journal')).map(({ name }) => join(dir, name))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw error
  }
}
