// Knows nothing of a log: it tells whoever listens what it does.
import { EventEmitter } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { closeOnExit } from 'exodos'

class Database extends EventEmitter {
  #rows = []
  #file

  constructor(file) {
    super()
    this.#file = file
  }

  insert(row) {
    this.#rows.push(row)
  }

  async close() {
    this.emit('did', `writing ${this.#rows.length} rows`)
    await writeFile(this.#file, JSON.stringify(this.#rows))
    this.emit('did', 'closed')
  }
}

export async function openDatabase(file) {
  return closeOnExit(new Database(file), { name: 'database' })
}
