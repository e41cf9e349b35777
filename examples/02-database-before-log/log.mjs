// Knows nothing of a database: what it has to be closed after is for others to say.
import { open } from 'node:fs/promises'
import { closeOnExit } from 'exodos'

class Log {
  #file
  #written = Promise.resolve()

  constructor(file) {
    this.#file = file
  }

  write(line) {
    if (!this.#file) return console.log(`lost, the log is closed: ${line}`)
    this.#written = this.#written.then(() => this.#file.appendFile(`${line}\n`))
  }

  async close() {
    const file = this.#file
    await this.#written
    this.#file = undefined
    await file.close()
  }
}

export async function openLog(path, { after } = {}) {
  return closeOnExit(new Log(await open(path, 'a')), { name: 'log', after })
}
