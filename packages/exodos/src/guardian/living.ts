import { readdirSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readJournal } from './lines.js'
import { isSurelyDead, parseOwner } from './owner.js'

/** Milliseconds in which a file may be written to twice without another time of change. */
const TICK = 50

interface Known {
  readonly size: number
  readonly changed: number
  /** It could have been written to after that without a trace. */
  readonly isFresh: boolean
  /** All that its records are about, and the directories above that. */
  readonly paths: ReadonlySet<string>
}

/** What owners that live have written down, for whoever does the records of a dead one. */
export class Living {
  /** Who has died meanwhile is looked after by somebody else. */
  private readonly owners = new Map<string, boolean>()
  private readonly journals = new Map<string, Known>()

  constructor(
    private readonly state: string,
    private readonly dir: string,
  ) {}

  /** Has somebody recorded the path, or something below it? */
  want(path: string): boolean {
    return readdirSync(this.dir)
      .filter((name) => this.lives(name))
      .some((name) => journalsIn(join(this.dir, name)).some((journal) => this.pathsIn(journal).has(path)))
  }

  private lives(name: string): boolean {
    let lives = this.owners.get(name)
    if (lives === undefined) {
      const owner = parseOwner(name)
      lives = owner !== undefined && !isSurelyDead(owner, this.state)
      this.owners.set(name, lives)
    }
    return lives
  }

  private pathsIn(journal: string): ReadonlySet<string> {
    const { size, mtimeMs: changed } = statSync(journal, { throwIfNoEntry: false }) ?? { size: 0, mtimeMs: 0 }
    const known = this.journals.get(journal)
    if (known && !known.isFresh && known.size === size && known.changed === changed) return known.paths
    const paths = new Set<string>()
    const isFresh = Date.now() - changed < TICK
    for (const { action } of size === 0 ? [] : readJournal(journal)) {
      if (!('path' in action)) continue
      for (let path = action.path; !paths.has(path); path = dirname(path)) paths.add(path)
    }
    this.journals.set(journal, { size, changed, isFresh, paths })
    return paths
  }
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
