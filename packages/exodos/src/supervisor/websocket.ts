import { builtin } from '../process/real.js'

// Loaded when a loop is blocked: together they would be a third of the start of `exodos run`.
const http = () => builtin<typeof import('node:http')>('node:http')
const randomBytes = (size: number) => builtin<typeof import('node:crypto')>('node:crypto').randomBytes(size)

/** A connection to Node's inspector. WebSocket by hand, as much as it needs: Node 20 has none, and we have no dependencies. */
export interface Connection {
  send(text: string): void
  onText(listener: (text: string) => void): void
  onClose(listener: () => void): void
  close(): void
}

const [CONTINUED, TEXT, CLOSE] = [0, 1, 8]

/** Connects to a `ws:` URL on this machine; rejects when nobody answers within `limit` milliseconds. */
export function connect(url: string, limit: number): Promise<Connection> {
  const { hostname, port, pathname } = new URL(url)
  const headers = {
    connection: 'Upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': randomBytes(16).toString('base64'),
  }
  return new Promise((resolve, reject) => {
    const asking = http().request({ hostname: reachable(hostname), port, path: pathname, headers, timeout: limit, agent: false })
    asking.on('error', reject)
    asking.on('response', () => asking.destroy(new Error('not an inspector')))
    asking.on('timeout', () => asking.destroy(new Error('no answer')))
    asking.on('upgrade', (_, socket, head) => {
      let heard: (text: string) => void = () => {}
      const take = readFrames((text) => heard(text))
      socket.setTimeout(0)
      socket.on('error', () => {})
      socket.on('data', (data: Buffer) => {
        if (!take(data)) socket.destroy()
      })
      resolve({
        send: (text) => void socket.write(frame(text)),
        onText(listener) {
          heard = listener
          take(head)
        },
        onClose: (listener) => void socket.once('close', listener),
        close: () => void socket.destroy(),
      })
    })
    asking.end()
  })
}

/** What listens on all addresses is reached at this machine's own. */
function reachable(hostname: string): string {
  if (hostname === '0.0.0.0') return '127.0.0.1'
  const address = hostname.replace(/^\[|\]$/g, '')
  return address === '::' ? '::1' : address
}

/** A text frame from a client, masked as RFC 6455 wants it. */
export function frame(text: string): Buffer {
  const data = Buffer.from(text)
  const mask = randomBytes(4)
  const long = data.length > 125
  const head = Buffer.from(
    long ? [0x80 | TEXT, 0x80 | 126, data.length >> 8, data.length & 255] : [0x80 | TEXT, 0x80 | data.length],
  )
  return Buffer.concat([head, mask, data.map((byte, i) => byte ^ (mask[i % 4] as number))])
}

/** Takes bytes as they come and hands out texts; returns false once the other side closes. */
export function readFrames(onText: (text: string) => void): (data: Buffer) => boolean {
  // A message may have megabytes, in chunks that are put together once, when all are there.
  let chunks: Buffer[] = []
  let length = 0
  let wanted = 0
  let parts: Buffer[] = []
  return (data) => {
    chunks.push(data)
    length += data.length
    if (length < wanted) return true
    let rest = Buffer.concat(chunks)
    for (;;) {
      const size = sizeOf(rest)
      wanted = size ? size.head + size.body : 0
      if (!size || rest.length < wanted) {
        chunks = [rest]
        length = rest.length
        return true
      }
      const [first = 0] = rest
      const body = rest.subarray(size.head, wanted)
      rest = rest.subarray(wanted)
      const kind = first & 15
      if (kind === CLOSE) return false
      if (kind !== TEXT && kind !== CONTINUED) continue
      parts.push(body)
      if (!(first & 0x80)) continue
      onText(Buffer.concat(parts).toString())
      parts = []
    }
  }
}

function sizeOf(data: Buffer): { head: number; body: number } | undefined {
  if (data.length < 2) return undefined
  const short = (data[1] as number) & 127
  if (short < 126) return { head: 2, body: short }
  const head = short === 126 ? 4 : 10
  if (data.length < head) return undefined
  return { head, body: short === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2)) }
}
