// A connection to a copy of the database, so that reports disturb nobody. This SQLite has its lock in a directory beside
// the file. Who is killed, or ends without `close`, leaves it there: then nobody can open that file any more.
import { copyFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sqlite from 'node-sqlite3-wasm'

export function connectToCopy(database, directory) {
  mkdirSync(directory, { recursive: true })
  copyFileSync(database, join(directory, 'copy.db'))
  const connection = new sqlite.Database(join(directory, 'copy.db'))
  // From the first query on it is locked until it is closed: nothing is locked and unlocked for each.
  connection.exec('PRAGMA locking_mode = EXCLUSIVE')
  connection.exec('CREATE INDEX months ON sales (month)')
  return connection
}
