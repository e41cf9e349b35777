// What show.mjs and hangs.mjs share: servers with uploads under way, and what can be seen of them from outside.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters, styleText } from 'node:util'
import { exiting, onExit } from 'exodos'

const CLEANUPS = 6
const PAYLOAD = 'x'.repeat(1000)

const root = mkdtempSync(join(tmpdir(), 'exodos-show-'))
const servers = new Set()
onExit(() => rm(root, { recursive: true, force: true }), { name: 'files' })
onExit(() => Promise.all([...servers].map((server) => kill(server) && once(server, 'exit'))), { name: 'servers' })

/** Starts a server, with one upload answered and one under way. `before` is what comes before `node with-….mjs`. */
export async function startServer(variant, way, registry, { before = [], env } = {}) {
  const dir = mkdtempSync(join(root, `${variant}-`))
  const file = fileURLToPath(new URL(`with-${variant}.mjs`, import.meta.url))
  const service = `${registry.url}/${way.registry ?? 'ok'}`
  const [command, ...args] = [...before, process.execPath, file, dir, service, way.name]
  const server = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, ...env } })
  servers.add(server)
  const closed = once(server, 'close')
  closed.then(() => servers.delete(server))
  let errors = ''
  server.stderr.on('data', (data) => {
    errors += data
  })
  const [line] = await Promise.race([once(server.stdout, 'data'), closed])
  const url = /^http:\S+/.exec(line)?.[0]
  if (!url) throw new Error(`with-${variant}.mjs didn't start\n${errors}`)

  const [first, second] = [startUpload(`${url}/first`), startUpload(`${url}/second`)]
  await Promise.all([first.started, second.started])
  first.finish()
  await first.answered
  return { server, dir, closed, errors: () => errors, upload: second, leave: () => leave(url) }
}

/** Ends a server with all that it has started: each has a process group of its own. */
export function kill(server) {
  try {
    return process.kill(-server.pid, 'SIGKILL')
  } catch {
    return false // It has ended.
  }
}

/** Sends the first half of an upload. `started`: the server has it in hand; `finish` sends the rest. */
function startUpload(url) {
  const upload = request(url, { method: 'PUT', agent: false, headers: { expect: '100-continue' } })
  // A server that is gone isn't an error here but a result, see `answered`.
  upload.on('error', () => {})
  upload.on('continue', () => upload.write(PAYLOAD)).flushHeaders()
  const started = once(upload, 'continue')
  const answered = once(upload, 'response').then(
    ([response]) => response.resume().statusCode === 200,
    () => false,
  )
  return { started, answered, finish: () => upload.end(PAYLOAD), cancel: () => upload.destroy() }
}

/** What comes of this request says nothing: its handler may be the end of the program. */
function leave(url) {
  request(`${url}/leave`, { method: 'POST', agent: false })
    .on('error', () => {})
    .end()
}

/** The cleanups that noted that they have finished, and how many could have: one needs the registry. */
export function finishedCleanups(dir, way) {
  const file = join(dir, 'cleanups.log')
  const finished = existsSync(file) ? new Set(readFileSync(file, 'utf8').trim().split('\n')).size : 0
  return { finished, possible: way.registry ? CLEANUPS - 1 : CLEANUPS }
}

/** Where services say that they come (PUT) and go (DELETE). The path says how well it feels. */
export async function startRegistry() {
  const server = createServer((request, response) => {
    if (request.method === 'DELETE' && request.url === '/hangs') return
    response.statusCode = request.method === 'DELETE' && request.url === '/fails' ? 503 : 204
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const stop = () => {
    server.close()
    server.closeAllConnections()
  }
  return { url: `http://127.0.0.1:${server.address().port}`, stop }
}

/** Makes a function that runs a few jobs at a time: more of them would only make each slower. */
export function inTurns(free) {
  const waiting = []
  // On the way out none begins or fails any more.
  const unlessExiting = (next) => (exiting.aborted ? new Promise(() => {}) : next())
  return async (job) => {
    if (free > 0) free--
    else await new Promise((resolve) => waiting.push(resolve))
    try {
      return await unlessExiting(job)
    } catch (error) {
      return unlessExiting(() => Promise.reject(error))
    } finally {
      if (waiting.length > 0) waiting.shift()()
      else free++
    }
  }
}

export const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text

/** Pads text, whose colours have no width. */
export function fill(text, width) {
  return text + ' '.repeat(Math.max(0, width - stripVTControlCharacters(text).length))
}
