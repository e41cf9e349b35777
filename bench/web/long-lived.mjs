/** The kinds of users whose connections have no end of their own: who leaves has to end them, and properly. */
import { connect } from './connection.mjs'
import { get } from './users.mjs'

const upgraded = (answer) => (answer.status === 101 ? undefined : `status ${answer.status}`)

const upgrade = (path, ...fields) => ({
  label: `GET ${path}`,
  bytes: Buffer.from([`GET ${path} HTTP/1.1`, 'Host: localhost', 'Connection: Upgrade', ...fields, '', ''].join('\r\n')),
  check: upgraded,
})

/** Opens connections with `request`, and follows each with `use`, which says how it ended: `true`, or in words. */
const following = (kind, request, use) => async (user) => {
  for (;;) {
    const connection = await connect(user)
    if (!connection) return
    const opened = connection.exchange(request)
    const how = await use(user, connection, opened)
    if (user.stopped() && !connection.how) return connection.destroy()
    if (how !== undefined) user.run.tally.over(kind, how === true, how)
    connection.end()
    await connection.gone
    await user.pause(user.chance.between(100, 500))
  }
}

/** A masked frame; payloads here are shorter than 126 bytes. */
function frame(opcode, payload) {
  const mask = Buffer.from([1, 2, 3, 4])
  return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length]), mask, payload.map((byte, i) => byte ^ mask[i % 4])])
}

async function webSocket(user, connection, opened) {
  let bytes = Buffer.alloc(0)
  let code
  let seen
  const closed = new Promise((resolve) => {
    seen = resolve
  })
  connection.onData = (more) => {
    bytes = Buffer.concat([bytes, more])
    while (bytes.length >= 2 && bytes.length >= 2 + bytes[1]) {
      const payload = bytes.subarray(2, 2 + bytes[1])
      if ((bytes[0] & 15) === 8 && code === undefined) {
        code = payload.length >= 2 ? payload.readUInt16BE() : 1005
        connection.write(frame(8, payload.subarray(0, 2)))
        seen()
      }
      bytes = bytes.subarray(2 + bytes[1])
    }
  }
  if (!(await opened)) return undefined
  while (code === undefined && !connection.how && !user.stopped()) {
    connection.write(frame(1, Buffer.from(`echo ${user.nextId()}`)))
    await Promise.race([user.pause(user.chance.between(200, 1000)), closed, connection.gone])
  }
  if (code === undefined) return connection.how
  const how = await connection.gone
  return code === 1001 && how === 'FIN' ? true : `${code}, ${how}`
}

// The terminating chunk makes it an answer like others.
const eventStream = async (_user, connection, opened) => ((await opened) ? true : connection.how)

async function rawUpgrade(user, connection, opened) {
  if (!(await opened)) return undefined
  while (!connection.how && !user.stopped()) {
    connection.write(Buffer.from('ping\n'))
    await Promise.race([user.pause(300), connection.gone])
  }
  return connection.how === 'FIN' ? true : connection.how
}

export const longLived = {
  ws: following(
    'ws',
    upgrade('/ws', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='),
    webSocket,
  ),
  upgrade: following('upgrade', upgrade('/upgrade', 'Upgrade: raw'), rawUpgrade),
  sse: following(
    'sse',
    { ...get('/sse', (answer) => (answer.status === 200 ? undefined : `status ${answer.status}`)), longLived: true },
    eventStream,
  ),
}
