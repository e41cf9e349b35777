import { type ClientHttp2Session, connect } from 'node:http2'
import type { App } from './app.js'

/** A session, once the server has taken it. */
export async function h2(app: App): Promise<ClientHttp2Session> {
  const scheme = app.scheme === 'h2' ? 'https' : 'http'
  const session = connect(`${scheme}://127.0.0.1:${app.port}`, { rejectUnauthorized: false })
  session.on('error', () => {})
  await new Promise((resolve, reject) => session.once('remoteSettings', resolve).once('error', reject))
  return session
}

/** The whole answer of a stream, and the code with which it was reset: 0 for none. */
export function ask(session: ClientHttp2Session, path: string): Promise<{ status: number; body: string; code: number }> {
  const stream = session.request({ ':path': path })
  const answer = { status: 0, body: '', code: 0 }
  stream.on('response', (headers) => {
    answer.status = Number(headers[':status'])
  })
  stream.setEncoding('utf8').on('data', (text) => {
    answer.body += text
  })
  stream.on('error', () => {})
  return new Promise((resolve) => stream.once('close', () => resolve({ ...answer, code: stream.rstCode ?? 0 })))
}
