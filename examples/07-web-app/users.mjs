// Users of the application, as show.mjs sees them. Each has a connection that is kept alive, a session, and thinks a
// little between requests. Nothing is repeated but what was refused: then there was no process.
import { randomUUID } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { finished } from 'node:stream/promises'
import { setTimeout as wait } from 'node:timers/promises'
import { WebSocket } from 'ws'

const THINK = 100
const PAGES = 16
const REPORT = 'line 1 of 5\nline 2 of 5\nline 3 of 5\nline 4 of 5\nline 5 of 5\n'

export class User extends EventEmitter {
  answered = 0
  /** What went wrong, in words. */
  lost = []
  /** By their ids, the pages of the jobs that were accepted. */
  jobs = new Map()
  visits = 0
  /** The process that has answered the last visit, and how many have gone on counting where the last one had stopped. */
  pid
  restored = 0
  #port
  #agent = new Agent({ keepAlive: true, maxSockets: 1 })
  #cookie
  #isStopped = false
  #isOver

  constructor(port) {
    super()
    this.#port = port
    this.#isOver = this.#use()
  }

  async stop() {
    this.#isStopped = true
    await this.#isOver
    this.#agent.destroy()
  }

  /** Resolves when `pid` has answered. */
  async seenBy(pid) {
    while (this.pid !== pid) await once(this, 'visit')
  }

  async #use() {
    while (!this.#isStopped) {
      const action = [this.#visit, this.#visit, this.#order, this.#read][Math.floor(Math.random() * 4)]
      try {
        await action.call(this)
        this.answered++
      } catch (error) {
        this.lost.push(`${action.name}: ${error.message}`)
      }
      await wait(Math.random() * THINK)
    }
  }

  async #visit() {
    const { headers, body } = await this.#ask('GET', '/')
    const { visits, pid } = JSON.parse(body)
    const isNext = visits === this.visits + 1
    const last = this.visits
    if (isNext && pid !== this.pid && last > 0) this.restored++
    Object.assign(this, { visits, pid })
    this.#cookie = headers['set-cookie'][0].split(';')[0]
    this.emit('visit')
    if (!isNext) throw new Error(`visit ${visits} follows ${last}`)
  }

  async #order() {
    const job = { id: randomUUID(), pages: 1 + Math.floor(Math.random() * PAGES) }
    await this.#ask('POST', '/jobs', job)
    this.jobs.set(job.id, job.pages)
  }

  async #read() {
    const { body } = await this.#ask('GET', '/report')
    if (body !== REPORT) throw new Error(`${body.length} of ${REPORT.length} bytes`)
  }

  async #ask(method, path, body) {
    for (;;) {
      try {
        return await ask(this.#port, method, path, body, { agent: this.#agent, cookie: this.#cookie })
      } catch (error) {
        if (error.code !== 'ECONNREFUSED') throw error
        await wait(10)
      }
    }
  }
}

/** Asks once; without an agent on a connection of its own. */
export async function ask(port, method, path, body, { agent = false, cookie = '' } = {}) {
  const headers = { cookie, ...(body && { 'content-type': 'application/json' }) }
  const asked = request({ host: '127.0.0.1', port, agent, method, path, headers }).end(body && JSON.stringify(body))
  try {
    const [response] = await once(asked, 'response')
    const answer = { headers: response.headers, body: await text(response) }
    if (response.statusCode >= 300) throw new Error(`${response.statusCode} ${answer.body}`)
    return answer
  } catch (error) {
    error.message += asked.reusedSocket ? ' (kept connection)' : ' (new connection)'
    throw error
  }
}

/** Opens a WebSocket. Resolves when it is welcome, with a promise of the code that it is closed with. */
export async function openWebSocket(port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/progress`)
  const closed = once(socket, 'close').then(
    ([code]) => code,
    (error) => error.message,
  )
  await Promise.race([once(socket, 'message'), closed])
  return { closed }
}

/** Opens an event stream. Resolves when it is welcome, with a promise of the `retry` of its last event. */
export async function openEvents(port) {
  const asked = request({ host: '127.0.0.1', port, path: '/events', agent: false }).end()
  const [response] = await once(asked, 'response')
  let events = ''
  response.setEncoding('utf8').on('data', (chunk) => {
    events += chunk
  })
  const lastRetry = () => /event: leaving\nretry: (\d+)\ndata: .*\n\n$/.exec(events)?.[1]
  const ended = finished(response).then(lastRetry, (error) => error.message)
  await Promise.race([once(response, 'data'), ended])
  return { ended }
}
