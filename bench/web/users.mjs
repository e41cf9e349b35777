/** The kinds of users that speak HTTP/1.1 in requests and answers. Each is a loop that ends when nobody listens any more. */
import { connect } from './connection.mjs'
import { checksum, chunk } from './content.mjs'

const head = (method, path, ...fields) =>
  Buffer.from([`${method} ${path} HTTP/1.1`, 'Host: localhost', ...fields, '', ''].join('\r\n'))

const body = (answer) => Buffer.concat(answer.body)

/** What is wrong with an answer that should consist of this text. */
export const expectText = (text) => (answer) => {
  if (answer.status !== 200) return `status ${answer.status}`
  return body(answer).toString() === text ? undefined : 'wrong content'
}

export const get = (path, check = expectText(path.slice(path.indexOf('?')))) => ({
  label: `GET ${path}`,
  bytes: head('GET', path),
  check,
})

const fast = (user) => get(`/fast?id=${user.nextId()}`)
const slow = (user) => get(`/slow?ms=${user.chance.between(200, 1500)}&id=${user.nextId()}`)

/** Thinks, connects if it must, and makes use of the connection, again and again. */
const onConnections = (listener, use) => async (user) => {
  let connection
  for (;;) {
    await user.pause(user.chance.between(0, user.run.think))
    if (user.stopped()) return connection?.end()
    if (!connection?.usable) connection = await connect(user, listener)
    if (!connection) return
    await use(user, connection)
  }
}

const keepAlive = (user, connection) => connection.exchange(fast(user))

export const users = {
  /** The majority: a request, a while of thinking, the next. */
  'keep-alive': onConnections('http', keepAlive),
  https: onConnections('https', keepAlive),

  slow: onConnections('http', (user, connection) => connection.exchange(slow(user))),

  /** A large answer in chunks, some with a length, some without. */
  stream: onConnections('http', async (user, connection) => {
    const [seed, chunks, size] = [user.nextId(), 10, user.run.streamChunk]
    const whole = checksum(...Array.from({ length: chunks }, (_, n) => chunk(seed, n, size)))
    const check = (answer) => {
      if (answer.status !== 200) return `status ${answer.status}`
      const length = answer.body.reduce((sum, part) => sum + part.length, 0)
      if (length !== chunks * size) return `wrong length ${length}`
      return checksum(...answer.body) === whole ? undefined : 'wrong content'
    }
    await connection.exchange(get(`/stream?seed=${seed}&chunks=${chunks}&size=${size}&ms=1000`, check))
  }),

  /** A body in pieces; the answer is its checksum. */
  upload: onConnections('http', async (user, connection) => {
    const pieces = Array.from({ length: 4 }, (_, n) => chunk(user.nextId(), n, 4096))
    const answer = connection.expect({ label: 'POST /upload', check: expectText(checksum(...pieces)) })
    connection.write(head('POST', '/upload', `Content-Length: ${4 * 4096}`))
    for (const piece of pieces) {
      await user.pause(user.chance.between(0, 200))
      if (!connection.how) connection.write(piece)
    }
    await answer
  }),

  /** Two to four requests in one write, all to be answered, in order. */
  pipeline: onConnections('http', async (user, connection) => {
    const batch = Array.from({ length: user.chance.between(2, 4) }, () =>
      user.chance.next() < 0.1 ? get(`/slow?ms=${user.chance.between(20, 300)}&id=${user.nextId()}`) : fast(user),
    )
    await connection.exchange(...batch)
  }),

  /** The first half of the head, the rest a moment later. */
  'half head': onConnections('http', async (user, connection) => {
    const request = fast(user)
    const at = user.chance.between(1, request.bytes.length - 1)
    const answer = connection.expect(request)
    connection.write(request.bytes.subarray(0, at))
    await user.pause(user.chance.between(100, 600))
    if (!connection.how) connection.write(request.bytes.subarray(at))
    await answer
  }),

  /** A connection a request. */
  fresh: onConnections('http', async (user, connection) => {
    await connection.exchange(fast(user))
    if (connection.usable) connection.end()
  }),

  /** A connection opened in advance, as browsers do. */
  preconnect: onConnections('http', async (user, connection) => {
    await user.pause(user.chance.between(0, 500))
    if (!connection.usable) return
    await connection.exchange(fast(user))
    if (connection.usable) connection.end()
  }),
}
