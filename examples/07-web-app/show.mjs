// Starts the application under load, sends it SIGTERM in the middle, starts it again, and so on; looks from outside at
// what was lost. Ends with code 1 if anything was.
//
//   node show.mjs [--rounds 3] [--store redis|level] [--signal SIGTERM]          SIGKILL shows what it would notice
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { onExit } from 'exodos'
import { renderPage } from './jobs.mjs'
import { findRedis, freePort, startRegistry } from './surroundings.mjs'
import { ask, openEvents, openWebSocket, User } from './users.mjs'

const USERS = 10
const OF_EACH = 3
const LIMIT = 2000
const PREFIX = `web-app-${process.pid}:`
const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    store: { type: 'string', default: 'any' },
    signal: { type: 'string', default: 'SIGTERM' },
  },
})

const dir = mkdtempSync(join(tmpdir(), 'exodos-web-app-'))
onExit(() => rmSync(dir, { recursive: true, force: true }), { name: 'files' })
const redis = values.store === 'level' ? undefined : await findRedis(dir, PREFIX)
if (!redis && values.store === 'redis') throw new Error('expected REDIS_URL, or redis-server to be installed')
const port = await freePort()
const registry = await startRegistry()
const problems = []
const retries = new Set()
const users = Array.from({ length: USERS }, () => new User(port))

console.log(`${USERS} users, the store is ${redis ? 'Redis' : 'LevelDB'}, Node ${process.versions.node}\n`)
for (let i = 1; i <= Number(values.rounds); i++) {
  const row = await startAndEnd(i)
  const widths = Object.keys(row).map((title) => Math.max(title.length, 7) + 2)
  const line = (cells) =>
    cells
      .map((cell, i) => String(cell).padEnd(widths[i]))
      .join('')
      .trimEnd()
  if (i === 1) console.log(line(Object.keys(row)))
  console.log(line(Object.values(row)))
}
await finishJobs()
check(retries.size > 1, 'all streams are told to come back in the same moment')

console.log(`
sessions: users whose visits were counted on; limit: of jobs a second, as an operator had set it before
handed over: jobs that the next process continues
WebSockets: closed with 1001; streams: ended by an event that says when to come back; ms: from ${values.signal} to the end`)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1
registry.close()
await redis?.close()

/** One life of the application: all users, WebSockets and streams are served by it when it is told to leave. */
async function startAndEnd(start) {
  const before = sum()
  const { app, url, ended } = await startApp()
  const sockets = await Promise.all(Array.from({ length: OF_EACH }, () => openWebSocket(port)))
  const streams = await Promise.all(Array.from({ length: OF_EACH }, () => openEvents(port)))
  await Promise.all(users.map((user) => user.seenBy(app.pid)))
  const { jobsPerSecond } = JSON.parse((await ask(port, 'GET', '/parameters')).body)
  await ask(port, 'PATCH', '/parameters', { jobsPerSecond: LIMIT + start })
  await wait(Math.random() * 100)
  const { end, ms } = await leave(app, ended)

  const after = sum()
  const restored = after.restored - before.restored
  const codes = await Promise.all(sockets.map(({ closed }) => closed))
  const toldRetries = (await Promise.all(streams.map(({ ended }) => ended))).filter((retry) => retry > 0)
  for (const retry of toldRetries) retries.add(retry)
  const told = codes.filter((code) => code === 1001).length
  check(start === 1 || restored === USERS, `start ${start}: ${restored} of ${USERS} sessions restored`)
  check(start === 1 || jobsPerSecond === LIMIT + start - 1, `start ${start}: the limit is ${jobsPerSecond} jobs a second`)
  check(told === OF_EACH, `start ${start}: WebSockets closed with ${codes}`)
  check(toldRetries.length === OF_EACH, `start ${start}: ${toldRetries.length} of ${OF_EACH} streams were told to come back`)
  check(!registry.urls.has(url), `start ${start}: the registry still has ${url}`)
  return {
    start,
    answered: after.answered - before.answered,
    lost: after.lost - before.lost,
    sessions: start === 1 ? 'none yet' : `${restored} of ${USERS}`,
    limit: jobsPerSecond,
    'handed over': handedOver(app),
    WebSockets: `${told} of ${OF_EACH}`,
    streams: `${toldRetries.length} of ${OF_EACH}`,
    registry: registry.urls.has(url) ? 'not told' : 'told',
    end,
    ms,
  }
}

/** The application once more, until no job is left: what became of those that were accepted? */
async function finishJobs() {
  const { app, ended } = await startApp()
  await Promise.all(users.map((user) => user.stop()))
  problems.push(...users.flatMap(({ lost }) => lost))
  const look = async () => JSON.parse((await ask(port, 'GET', '/jobs')).body)
  let overview = await look()
  for (; overview.waiting + overview.claimed > 0; overview = await look()) await wait(50)
  await leave(app, ended)

  const accepted = new Map(users.flatMap(({ jobs }) => [...jobs]))
  const done = new Map(overview.done.map((job) => [job.id, job]))
  const lost = [...accepted.keys()].filter((id) => !done.has(id)).length
  const twice = overview.done.length - done.size
  const wrong = [...accepted].filter(([id, pages]) => done.has(id) && done.get(id).digest !== render(id, pages)).length
  const continued = overview.done.filter(({ processes }) => processes.length > 1).length
  const pages = [...accepted.values()].reduce((all, count) => all + count, 0)
  console.log(`
${accepted.size} jobs accepted: ${done.size} done, ${continued} of them by two processes or more
${lost} lost, ${twice} done twice, ${wrong} with a wrong result, ${overview.charged} of ${pages} pages charged`)
  check(lost + twice + wrong === 0 && overview.charged === pages, 'jobs lost, done twice or wrong')
}

async function startApp() {
  const path = fileURLToPath(new URL('app.mjs', import.meta.url))
  const app = spawn(process.execPath, [path, dir, port, registry.url], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, REDIS_URL: redis?.url ?? '', REDIS_PREFIX: PREFIX },
  })
  const stop = onExit(() => app.kill('SIGKILL'), { name: 'app' })
  const ended = once(app, 'exit').finally(stop)
  const [line] = await Promise.race([once(app.stdout, 'data'), ended])
  if (app.exitCode !== null || app.signalCode) throw new Error('the application did not start')
  return { app, url: String(line).trim(), ended }
}

async function leave(app, ended) {
  const began = performance.now()
  app.kill(values.signal)
  const tooLong = setTimeout(() => app.kill('SIGKILL'), 10_000)
  const [code, signal] = await ended
  clearTimeout(tooLong)
  check(signal === values.signal, `the application ended with ${signal ?? code}`)
  return { end: signal ?? code, ms: Math.round(performance.now() - began) }
}

function check(isRight, text) {
  if (!isRight) problems.push(text)
}

function sum() {
  const all = (count) => users.reduce((total, user) => total + count(user), 0)
  return { answered: all((user) => user.answered), lost: all((user) => user.lost.length), restored: all((user) => user.restored) }
}

/** As the application's log has it. */
function handedOver({ pid }) {
  return new RegExp(` ${pid} jobs: .*"handedOver":(\\d+)`).exec(readFileSync(join(dir, 'app.log'), 'utf8'))?.[1] ?? '?'
}

/** What must come out, however many processes had a part in it. */
function render(id, pages) {
  let digest
  for (let page = 0; page < pages; page++) digest = renderPage({ id, page, digest })
  return digest
}
