/** Users of HTTP/2, over TLS and in cleartext. What the server says it hasn't processed is sent again, on a new connection. */
import { connect as connectH2, constants } from 'node:http2'

export const usersH2 = { h2c: (user) => onSessions(user, 'h2c'), h2: (user) => onSessions(user, 'h2') }

async function onSessions(user, listener) {
  const { tally } = user.run
  const again = []
  let session
  for (;;) {
    await user.pause(user.chance.between(0, user.run.think))
    if (user.stopped()) return session?.close()
    if (!session?.usable) session = await open(user, listener)
    if (!session) return
    const paths = Array.from({ length: user.chance.between(1, 3) }, () => again.pop() ?? pathFor(user))
    const results = await Promise.all(paths.map((path) => request(user, session, path)))
    again.push(...paths.filter((_, i) => results[i] === 'again'))
    tally.counts.retried += again.length
  }
}

const pathFor = (user) =>
  user.chance.next() < 0.25 ? `/slow?ms=${user.chance.between(200, 1500)}&id=${user.nextId()}` : `/fast?id=${user.nextId()}`

async function open(user, listener) {
  const { tally, ports, secureContext } = user.run
  for (;;) {
    const session = connectH2(`${listener === 'h2' ? 'https' : 'http'}://localhost:${ports[listener]}`, {
      secureContext,
      host: '127.0.0.1',
    })
    let established = false
    const failure = await new Promise((resolve) => {
      session.once('error', resolve)
      session.once('close', () => resolve(new Error('closed')))
      session.once('connect', (_session, socket) => {
        established = true
        session.connectedAt = tally.clock()
        socket.once('end', () => {
          session.ended = 'FIN'
        })
        resolve()
      })
    })
    if (established) return watched(session)
    if (tally.leaving) {
      tally.count(failure.code === 'ECONNREFUSED' ? 'refused' : 'handshakesCut')
      if (failure.code === 'ECONNREFUSED' || tally.ended) return undefined
      await user.pause(user.chance.between(100, 500))
      continue
    }
    if (tally.stopping) return undefined
    tally.failedEarly(user, failure)
    await user.pause(200)
  }
}

function watched(session) {
  session.usable = true
  const over = () => {
    session.usable = false
  }
  session.on('goaway', (_code, last) => {
    session.lastProcessed = last
    over()
  })
  session.on('error', (error) => {
    session.ended ??= error.code
    over()
  })
  session.on('close', over)
  return session
}

/** `true`, `'again'` or, on record, `false`. */
function request(user, session, path) {
  const { tally } = user.run
  return new Promise((resolve) => {
    let stream
    try {
      stream = session.request({ ':path': path })
    } catch {
      // The session said goodbye between the look and the request: nothing was sent.
      return resolve('again')
    }
    tally.sent(user)
    const sentAt = tally.clock()
    let status
    let text = ''
    let ended = false
    let failure
    stream.setEncoding('utf8')
    stream.on('response', (headers) => {
      status = headers[':status']
    })
    stream.on('data', (part) => {
      text += part
    })
    stream.on('end', () => {
      ended = true
    })
    stream.on('error', (error) => {
      failure = error
    })
    stream.on('close', () => {
      // No answer here is empty, so a right one is a whole one.
      const wrong = status !== 200 ? `status ${status}` : text === path.slice(path.indexOf('?')) ? undefined : 'wrong content'
      if (ended && !wrong) {
        tally.answered(user)
        return resolve(true)
      }
      const unprocessed =
        stream.rstCode === constants.NGHTTP2_REFUSED_STREAM || stream.id === undefined || stream.id > session.lastProcessed
      if (unprocessed) return resolve('again')
      tally.lost(user, {
        request: `GET ${path}`,
        how:
          status === undefined || !ended
            ? `${failure?.code ?? 'closed'} rst ${stream.rstCode} ${session.ended ?? ''}`.trim()
            : wrong,
        truncated: status !== undefined,
        nth: stream.id,
        listener: stream.session?.encrypted ? 'h2' : 'h2c',
        connectedAt: session.connectedAt,
        sentAt,
        lostAt: tally.clock(),
      })
      resolve(false)
    })
  })
}
