// Starts the server in each of its four variants, once for each way out, with an upload under way; looks from outside
// at what became of it, and prints a table. Ends with code 1 when exodos falls short.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { stripVTControlCharacters, styleText } from 'node:util'
import { ClassicLevel } from 'classic-level'
import { exiting, onExit } from 'exodos'
import { waysOut } from './ways-out.mjs'

const VARIANTS = ['exodos', 'process-on-exit', 'signal-exit', 'exit-hook']
const CLEANUPS = 6
const AT_A_TIME = 3
const TOO_LONG = 15_000
const PAYLOAD = 'x'.repeat(1000)

const root = mkdtempSync(join(tmpdir(), 'exodos-show-'))
const servers = new Set()
onExit(() => rmSync(root, { recursive: true, force: true }))
onExit(() => Promise.all([...servers].map((server) => server.kill('SIGKILL') && once(server, 'exit'))), { name: 'servers' })

const registry = await startRegistry()
const turns = Array.from({ length: AT_A_TIME }, () => Promise.resolve())
const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text

console.log(`A server with an upload under way leaves in ${waysOut.length} ways, on Node ${process.versions.node}\n`)
console.log(paint('bold', line('', 'exodos', "on('exit')", 'signal-exit', 'exit-hook')))
console.log(paint('dim', 'way out          done  upload  on disk  exit        ms'))

const rows = waysOut.map((way) => ({ way, outcomes: VARIANTS.map((variant) => inTurn(() => leaveBy(way, variant))) }))
const score = VARIANTS.map(() => 0)
const shortfalls = []
for (const { way, outcomes } of rows) {
  const [ours, ...others] = await Promise.all(outcomes)
  console.log(line(way.name, showOurs(ours), ...others.map(showOther)))
  for (const [i, { isRight }] of [ours, ...others].entries()) score[i] += Number(isRight)
  if (!ours.isRight) shortfalls.push({ way, ours })
}
console.log(paint('bold', line('right', ...score.map((count) => `${count} of ${waysOut.length}`))))
console.log(`
done: cleanups that finished; the 6th, leaving a registry, can't where the registry fails or hangs
✗: a cleanup, the upload, output or the exit status was lost; 143 counts as right for SIGTERM, and so on
The four programs: examples/01-server/with-*.mjs`)

registry.close()
registry.closeAllConnections()
for (const { way, ours } of shortfalls) {
  const { errors, ...seen } = ours
  console.error(`\n${way.name}: expected exit ${way.exit}, saw`, seen, `\n${errors}`)
}
process.exitCode = shortfalls.length > 0 ? 1 : 0

/** Runs a few jobs at a time: more of them would only make each slower. On the way out none begins or fails any more. */
function inTurn(job) {
  const unlessExiting = (next) => (exiting.aborted ? new Promise(() => {}) : next())
  const result = turns
    .shift()
    .then(() => unlessExiting(job))
    .catch((error) => unlessExiting(() => Promise.reject(error)))
  turns.push(result)
  return result
}

/** Starts a server, makes it leave while an upload is under way, and tells what its parent process sees of it. */
async function leaveBy(way, variant) {
  const dir = mkdtempSync(join(root, `${variant}-`))
  const file = fileURLToPath(new URL(`with-${variant}.mjs`, import.meta.url))
  const service = `${registry.url}/${way.registry ?? 'ok'}`
  const server = spawn(process.execPath, [file, dir, service, way.name], { stdio: ['ignore', 'pipe', 'pipe'] })
  servers.add(server)
  const closed = once(server, 'close')
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

  const printed = readSlowly(server.stdout)
  const began = performance.now()
  const exited = once(server, 'exit').then(([code, signal]) => ({ code, signal, ms: performance.now() - began }))
  // What came of this request says nothing: its handler may be the end of the program.
  if (way.inside)
    request(`${url}/leave`, { method: 'POST', agent: false })
      .on('error', () => {})
      .end()
  else server.kill(way.signals[0])
  const late = [
    // The client is slow; a server that doesn't wait for it loses its upload.
    setTimeout(second.finish, 200),
    setTimeout(() => way.signals?.[1] && server.kill(way.signals[1]), 700),
    setTimeout(() => server.kill('SIGKILL'), TOO_LONG),
  ]
  const { code, signal, ms } = await exited
  await closed
  for (const timer of late) clearTimeout(timer)
  second.cancel()
  servers.delete(server)

  const exit = signal ?? code
  const finished = finishedCleanups(dir)
  const possible = way.registry ? CLEANUPS - 1 : CLEANUPS
  const isAnswered = await second.answered
  const left = await leftOnDisk(dir)
  const lostOutput = (way.output ?? 0) - (await printed)
  // Only exodos has to die of the signal itself: 128 + n, which a shell would show for it, is good enough for others.
  const isExitRight = exit === way.exit || (variant !== 'exodos' && exit === 128 + constants.signals[way.exit])
  const isRight = finished === possible && isAnswered && left.length === 0 && lostOutput === 0 && isExitRight
  return { exit, finished, possible, isAnswered, left, lostOutput, isRight, ms, errors }
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

/** Counts what is printed, but doesn't begin to read at once. */
async function readSlowly(stdout) {
  stdout.pause()
  await sleep(400)
  let count = 0
  for await (const chunk of stdout) count += chunk.length
  return count
}

function finishedCleanups(dir) {
  const file = join(dir, 'cleanups.log')
  return existsSync(file) ? new Set(readFileSync(file, 'utf8').trim().split('\n')).size : 0
}

/** What should not be there, or should be and is not. */
async function leftOnDisk(dir) {
  const left = ['server.pid', 'uploads', 'state.json.new'].filter((name) => existsSync(join(dir, name)))
  const db = new ClassicLevel(join(dir, 'db'))
  const names = await db.keys().all()
  await db.close()
  if (!names.includes('second')) left.push('no last record')
  const state = join(dir, 'state.json')
  if (!existsSync(state)) left.push('no state.json')
  else if (JSON.parse(readFileSync(state, 'utf8')).uploads !== names.length) left.push('wrong state.json')
  return left
}

/** Where services say that they come (PUT) and go (DELETE). The path says how well it feels. */
async function startRegistry() {
  const server = createServer((request, response) => {
    if (request.method === 'DELETE' && request.url === '/hangs') return
    response.statusCode = request.method === 'DELETE' && request.url === '/fails' ? 503 : 204
    response.end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(server, { url: `http://127.0.0.1:${server.address().port}` })
}

function line(name, ours, ...others) {
  return `${name.padEnd(17)}${fill(ours, 39)}${others.map((other) => fill(other, 14)).join('')}`.trimEnd()
}

/** Pads text, whose colours have no width. */
function fill(text, width) {
  return text + ' '.repeat(Math.max(0, width - stripVTControlCharacters(text).length))
}

function showOurs({ finished, possible, isAnswered, left, exit, ms, lostOutput, isRight }) {
  const columns = [
    `${finished}/${possible}`.padEnd(6),
    (isAnswered ? 'stored' : 'lost').padEnd(8),
    (left.length > 0 ? `${left.length} wrong` : 'clean').padEnd(9),
    (lostOutput > 0 ? 'cut output' : String(exit)).padEnd(8),
    ms.toFixed(0).padStart(6),
  ]
  return paint(isRight ? 'green' : 'red', columns.join(''))
}

function showOther({ finished, possible, exit, lostOutput, isRight }) {
  const text = `${isRight ? '✓' : '✗'} ${finished}/${possible} ${exit}${lostOutput > 0 ? ' cut' : ''}`
  return paint(isRight ? 'green' : 'red', text)
}
