import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

/** A client that sees what is on the wire: no pool, no repeat, nothing parsed unless asked for. */
export interface Wire {
  socket: Socket
  /** Resolves when the kernel has taken it. */
  send(data: string | Buffer): Promise<void>
  /** All that came, as Latin-1. */
  received(): string
  /** Resolves once that has come. */
  until(text: string): Promise<void>
  /** Resolves with so many whole answers, those from before included; rejects when the connection ends earlier. */
  answers(count?: number, options?: { head?: boolean }): Promise<Answer[]>
  /** How it ended: with FIN, with the code of an error, or `closed` by ourselves. */
  closed: Promise<string>
}

export interface Answer {
  status: number
  headers: Record<string, string>
  body: string
  trailers: Record<string, string>
}

export interface WireOptions {
  tls?: boolean
  /** Doesn't answer FIN with FIN. */
  halfOpen?: boolean
}

const live = new Set<Socket>()

export async function connect(port: number, { tls = false, halfOpen = false }: WireOptions = {}): Promise<Wire> {
  const where = { host: '127.0.0.1', port, allowHalfOpen: halfOpen }
  const socket = tls ? connectTls({ ...where, rejectUnauthorized: false }) : connectTcp(where)
  live.add(socket)
  const chunks: Buffer[] = []
  let end: string | undefined
  const watchers = new Set<() => void>()
  const look = () => {
    for (const watcher of watchers) watcher()
  }
  socket.on('data', (chunk) => {
    chunks.push(chunk)
    look()
  })
  socket.on('end', () => {
    end ??= 'FIN'
    look()
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    end ??= error.code ?? error.message
  })
  const closed = new Promise<string>((resolve) => {
    socket.once('close', () => {
      end ??= 'closed'
      live.delete(socket)
      look()
      resolve(end)
    })
  })
  const received = () => Buffer.concat(chunks).toString('latin1')
  const when = <T>(what: () => T | undefined, name: string) =>
    new Promise<T>((resolve, reject) => {
      const watcher = () => {
        const found = what()
        if (found !== undefined) resolve(found)
        else if (end === undefined) return
        else reject(new Error(`the connection ended (${end}) before ${name} came:\n${received().slice(-2000)}`))
        watchers.delete(watcher)
      }
      watchers.add(watcher)
      watcher()
    })
  const isOpen = new Promise<void>((resolve, reject) => {
    socket.once(tls ? 'secureConnect' : 'connect', resolve).once('error', reject)
  })
  await isOpen
  return {
    socket,
    closed,
    received,
    send: (data) => new Promise((resolve, reject) => socket.write(data, (error) => (error ? reject(error) : resolve()))),
    until: async (text) => void (await when(() => received().includes(text) || undefined, text)),
    answers: (count = 1, { head = false } = {}) =>
      when(() => {
        const found = parse(received(), head)
        return found.length >= count ? found : undefined
      }, `answer ${count}`),
  }
}

/** For after a test: nothing of a client may keep a server, or the tests, waiting. */
export function hangUp(): void {
  for (const socket of live) socket.destroy()
}

/** The whole answers in a text. Those to HEAD have no body, whatever they say. */
function parse(text: string, isHead: boolean): Answer[] {
  const found: Answer[] = []
  let rest = text
  for (;;) {
    const [top, afterHead] = split(rest, '\r\n\r\n')
    if (top === undefined) return found
    const [statusLine = '', ...fields] = top.split('\r\n')
    const answer: Answer = { status: Number(statusLine.split(' ')[1]), headers: toFields(fields), body: '', trailers: {} }
    const { headers } = answer
    const isEmpty = isHead || answer.status < 200 || answer.status === 204
    if (isEmpty) rest = afterHead
    else if (headers['transfer-encoding'] === 'chunked') {
      const after = readChunks(afterHead, answer)
      if (after === undefined) return found
      rest = after
    } else {
      const length = Number(headers['content-length'])
      if (!(afterHead.length >= length)) return found
      answer.body = afterHead.slice(0, length)
      rest = afterHead.slice(length)
    }
    found.push(answer)
  }
}

/** Returns what is after the last chunk, and nothing if that hasn't come. */
function readChunks(text: string, into: Answer): string | undefined {
  let rest = text
  for (;;) {
    const [size, data] = split(rest, '\r\n')
    if (size === undefined) return undefined
    const length = Number.parseInt(size, 16)
    if (length > 0) {
      if (data.length < length + 2) return undefined
      into.body += data.slice(0, length)
      rest = data.slice(length + 2)
      continue
    }
    if (data.startsWith('\r\n')) return data.slice(2)
    const [trailers, after] = split(data, '\r\n\r\n')
    if (trailers === undefined) return undefined
    into.trailers = toFields(trailers.split('\r\n'))
    return after
  }
}

function split(text: string, at: string): [string | undefined, string] {
  const index = text.indexOf(at)
  return index < 0 ? [undefined, text] : [text.slice(0, index), text.slice(index + at.length)]
}

function toFields(lines: string[]): Record<string, string> {
  const pairs = lines.map((line) => split(line, ':'))
  return Object.fromEntries(pairs.map(([name, value]) => [(name ?? '').toLowerCase(), value.trim()]))
}
