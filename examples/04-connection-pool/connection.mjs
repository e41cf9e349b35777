// Stands for a connection to a database: to say goodbye takes it 100 ms.
import { setTimeout as wait } from 'node:timers/promises'

export class Connection {
  static async open() {
    await wait(5)
    return new Connection()
  }

  async query(text) {
    await wait(1)
    return `result of ${text}`
  }

  async close() {
    await wait(100)
  }
}
