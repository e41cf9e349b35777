import { scope } from 'exodos'
import { Connection } from './connection.mjs'

/** A pool that owns its connections by a scope: they are closed at the same time, by hand or when the process leaves. */
export class Pool {
  #connections
  #idle = []
  #count = 0

  constructor({ name = 'pool', size = 10, ...options } = {}) {
    this.size = size
    this.#connections = scope({ name, parallel: true, ...options })
  }

  async run(text) {
    const connection = this.#idle.pop() ?? (await this.#open())
    try {
      return await connection.query(text)
    } finally {
      this.#idle.push(connection)
    }
  }

  /** Closes what nobody uses. A connection that is closed early is no longer the scope's. */
  async shrink() {
    await Promise.all(this.#idle.splice(0).map((connection) => connection.close()))
  }

  /** `await using pool = new Pool()`; not called, it happens when the process leaves. */
  [Symbol.asyncDispose]() {
    return this.#connections.disposeAsync()
  }

  async #open() {
    return this.#connections.use(await Connection.open(), { name: `connection ${++this.#count}` })
  }
}
