// The state that lives in memory while the process does: the visits of each session, and a limit that an operator
// may change. It comes from the store at the start and goes back there at the end.
import { randomUUID } from 'node:crypto'
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export async function restoreState(store, dir) {
  const file = join(dir, 'state.json')
  // The file is only there if the last process had no time for the store. It stays until the store has something newer:
  // a process that dies before that is followed by one that restores the same again.
  const saved = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : await store.load()
  const sessions = new Map(saved?.sessions)
  const parameters = { jobsPerSecond: 1000, ...saved?.parameters }
  const toJSON = () => ({ sessions: [...sessions], parameters })

  return {
    sessions,
    parameters,
    /** The session of a request; a new one where there is none. */
    of(request) {
      const [, known] = /(?:^|; )sid=([\w-]+)/.exec(request.headers.cookie ?? '') ?? []
      const id = sessions.has(known) ? known : randomUUID()
      if (!sessions.has(id)) sessions.set(id, { visits: 0 })
      return { id, session: sessions.get(id) }
    },
    async save() {
      await store.save(toJSON())
      rmSync(file, { force: true })
    },
    /** For where nothing can be waited for. Written beside and renamed: never half a file, never none. */
    saveSync() {
      writeFileSync(`${file}.new`, JSON.stringify(toJSON()))
      renameSync(`${file}.new`, file)
    },
  }
}
