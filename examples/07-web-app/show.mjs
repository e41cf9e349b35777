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
import { openEvents, openWebSocket, User } from './users.mjs'

const USERS = 10
const OF_EACH = 3
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

console.log(`${USERS} users, the store is ${redis ? 'Redis' : 'LevelDB'}, Node ${process.versions.node}\n`)
const TITLES = ['start', 'answered', 'lost', 'sessions', 'handed over', 'WebSockets', 'streams', 'registry', 'end    ', 'ms']
const row = (cells) =>
  cells
    .map((cell, i) => String(cell).padEnd(TITLES[i].length + 2))
    .join('')
    .trimEnd()
console.log(row(TITLES))

const problems = []
const users = Array.from({ length: USERS }, () => new User(port))
for (let i = 1; i <= Number(values.rounds); i++) console.log(row([i, ...(await startAndEnd(i))]))
await finishJobs()

console.log(`
sessions: users whose visits were counted on; handed over: jobs that the next process continued
WebSockets: closed with 1001; streams: ended by an event with a \`retry\` of their own; ms: from ${values.signal} to the end`)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1
registry.close()
await redis?.close()

/** One life of the application: all users, WebSockets and streams are served by it when it is told to leave. */
async function startAndEnd(round) {
  const before = sum()
  const { app, url, ended } = await startApp()
  const sockets = await Promise.all(Array.from({ length: OF_EACH }, () => openWebSocket(port)))
  const streams = await Promise.all(Array.from({ length: OF_EACH }, () => openEvents(port)))
  await Promise.all(users.map((user) => user.seenBy(app.pid)))
  await wait(Math.random() * 100)
  const { end, ms } = await leave(app, ended)

  const after = sum()
  const codes = await Promise.all(sockets.map(({ closed }) => closed))
  const retries = await Promise.all(streams.map(({ ended }) => ended))
  const [answered, lost, restored] = ['answered', 'lost', 'restored'].map((name) => after[name] - before[name])
  const expected = round === 1 ? 0 : USERS
  const goodCodes = codes.filter((code) => code === 1001).length
  const goodRetries = new Set(retries.filter((retry) => retry > 0)).size
  const told = registry.urls.has(url) ? 'no' : 'told'
  check(restored === expected, `start ${round}: ${restored} of ${expected} sessions restored`)
  check(goodCodes === OF_EACH, `start ${round}: WebSockets closed with ${codes}`)
  check(goodRetries === OF_EACH, `start ${round}: event streams ended with ${retries}`)
  check(told === 'told', `start ${round}: the registry still has ${url}`)
  const of = (count, all) => `${count} of ${all}`
  const columns = [answered, lost, of(restored, expected), handedOver(app), of(goodCodes, OF_EACH), of(goodRetries, OF_EACH)]
  return [...columns, told, end, ms]
}

/** The application once more, until no job is left: what became of those that were accepted? */
async function finishJobs() {
  const { app, url, ended } = await startApp()
  await Promise.all(users.map((user) => user.stop()))
  problems.push(...users.flatMap(({ lost }) => lost))
  const look = async () => (await fetch(`${url}/jobs`)).json()
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
