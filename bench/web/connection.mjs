/** One connection of a raw HTTP/1.1 client: writes requests, matches answers to them in order, and says what became of each. */
import { connect as connectTcp } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AnswerParser } from './answers.mjs'

/** A SYN that a leaving server drops is repeated by the kernel after 1 s, and then refused. */
const CONNECT_LIMIT = 8000

/**
 * Connects. `undefined`: nobody listens there any more, which loses nothing, a balancer would go elsewhere; the user is
 * done. Before SIGTERM it is an error.
 */
export async function connect(user, listener = 'http') {
  const { tally, ports, secureContext } = user.run
  for (;;) {
    const { socket, error } = await open(listener, ports[listener], secureContext)
    if (!error) return new Connection(user, socket, listener)
    if (tally.leaving) {
      // Established and cut, within a TLS handshake: no request was written, but counted apart.
      tally.count(error.established ? 'handshakesCut' : error.code === 'ECONNREFUSED' ? 'refused' : 'unestablished')
      // The process is there still: who connects anew may be met by what listens on.
      if (!error.established || tally.ended) return undefined
      await user.pause(user.chance.between(100, 500))
      continue
    }
    if (tally.stopping) return undefined
    tally.failedEarly(user, error)
    await user.pause(200)
  }
}

function open(listener, port, secureContext) {
  return new Promise((resolve) => {
    const where = { port, host: '127.0.0.1', noDelay: true }
    const secure = listener === 'https'
    const socket = secure ? connectTls({ ...where, secureContext, servername: 'localhost' }) : connectTcp(where)
    let established = false
    const fail = (error) => {
      clearTimeout(timer)
      socket.on('error', () => {})
      socket.destroy()
      resolve({ error: Object.assign(error, { established }) })
    }
    const ended = () => fail(Object.assign(new Error('ended in the handshake'), { code: 'FIN' }))
    const timer = setTimeout(() => fail(Object.assign(new Error('no connection'), { code: 'TIMEOUT' })), CONNECT_LIMIT)
    socket.once('error', fail)
    if (secure) socket.once('end', ended)
    socket.once('connect', () => {
      established = true
    })
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer)
      socket.off('error', fail)
      socket.off('end', ended)
      resolve({ socket })
    })
  })
}

class Connection {
  /** May a further request be written? Not after an answer with `Connection: close`, nor after the end. */
  usable = true
  /** How it ended: 'FIN', or the code of the error. */
  how
  /** After an upgrade: what takes the bytes. */
  onData = () => {}
  #user
  #socket
  #expected = []
  #written = 0
  #since
  #parser
  #upgraded = false
  #gone
  /** Resolves with `how` once the server has ended it, or it broke. */
  gone = new Promise((resolve) => {
    this.#gone = resolve
  })

  constructor(user, socket, listener) {
    this.#user = user
    this.#socket = socket
    this.listener = listener
    this.#since = user.run.tally.clock()
    this.#parser = new AnswerParser(
      (answer) => {
        if (this.#expected[0]) this.#expected[0].head = answer.status
      },
      (answer) => this.#answered(answer),
    )
    socket.on('data', (bytes) => this.#data(bytes))
    socket.on('end', () => this.#over('FIN'))
    socket.on('error', (error) => this.#over(error.code ?? error.message, error))
    socket.on('close', () => this.#over('closed'))
  }

  /**
   * Announces a request whose answer is to come next; the promise says whether it came, whole and right. What hasn't is
   * on record then. `{ label, check(answer) => what is wrong, longLived }`: the end of what is long-lived, once its head
   * was there, is for its user to judge.
   */
  expect(request) {
    const { tally } = this.#user.run
    tally.sent(this.#user)
    return new Promise((resolve) => {
      this.#expected.push({ ...request, nth: ++this.#written, at: tally.clock(), accepted: false, resolve })
    })
  }

  write(bytes) {
    // One pass for what was announced so far: a first byte that the kernel has taken counts as written.
    const announced = this.#expected.filter((request) => !request.accepted)
    this.#socket.write(bytes, (error) => {
      if (!error) for (const request of announced) request.accepted = true
    })
  }

  /** Announces requests and writes them at once. Whether all were answered. */
  async exchange(...requests) {
    const answers = requests.map((request) => this.expect(request))
    this.write(Buffer.concat(requests.map((request) => request.bytes)))
    return (await Promise.all(answers)).every(Boolean)
  }

  end(bytes) {
    this.usable = false
    this.#socket.end(bytes)
  }

  destroy() {
    this.#socket.destroy()
  }

  #data(bytes) {
    if (this.#upgraded) return this.onData(bytes)
    try {
      const rest = this.#parser.push(bytes)
      if (!rest) return
      this.#upgraded = true
      // The promise of the upgrade has to be seen first, then `onData` is set.
      if (rest.length > 0) setImmediate(() => this.onData(rest))
    } catch (error) {
      this.#over(`unparsable: ${error.message}`)
      this.destroy()
    }
  }

  #answered(answer) {
    const { tally } = this.#user.run
    const request = this.#expected.shift()
    if (!request) return tally.unexpected(this.#user, answer)
    const wrong = request.check(answer)
    if (wrong) this.#lost(request, wrong)
    else tally.answered(this.#user)
    request.resolve(!wrong && answer)
    if (!answer.close) return
    this.usable = false
    this.closedByAnswer = true
    if (this.#expected.length === 0) this.#socket.end()
  }

  #over(how, error) {
    if (this.how) return
    this.how = how
    this.usable = false
    const { tally } = this.#user.run
    for (const request of this.#expected) {
      if (request.longLived && request.head === 200) request.resolve(false)
      else if (!request.accepted && error?.syscall === 'write') {
        tally.count('unsent')
        request.resolve(false)
      } else this.#lost(request, this.closedByAnswer ? `${how} after Connection: close` : how)
    }
    this.#expected = []
    this.#gone(how)
    if (how !== 'FIN') this.#socket.destroy()
  }

  #lost(request, how) {
    const { tally } = this.#user.run
    const now = tally.clock()
    tally.lost(this.#user, {
      request: request.label,
      how,
      truncated: request.head !== undefined && !/^(status|wrong)/.test(how),
      nth: request.nth,
      listener: this.listener,
      connectedAt: this.#since,
      sentAt: request.at,
      lostAt: now,
    })
    request.resolve(false)
  }
}
