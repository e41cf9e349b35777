// Clients ask the server all the time, while its workers are replaced, while one is killed, and when it ends. Ends with code
// 1 when a request is lost that shouldn't be, or a worker doesn't close its database.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, get } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { durable } from 'exodos/durable'

const CLIENTS = 20
/** Milliseconds; the longest pause of a client. */
const PAUSE = 200

const server = spawn(process.execPath, [fileURLToPath(new URL('server.mjs', import.meta.url))], {
  env: { ...process.env, PORT: '0' },
  stdio: ['ignore', 'pipe', 'inherit'],
})
durable.process(server)
const said = []
const told = createInterface({ input: server.stdout })
told.on('line', (line) => said.push(line))
const ended = once(server, 'exit')

const url = (await says(/^listening on (.*)/))[1]
const count = { answered: 0, lost: 0 }
let isOver = false
const clients = Array.from({ length: CLIENTS }, client)

console.log(`A server of two processes, and ${CLIENTS} clients, on Node ${process.versions.node}\n`)
console.log('what happens                answered   lost   databases closed')
await show('SIGHUP: one by one', 2, async () => {
  server.kill('SIGHUP')
  await says(/^restarted/)
})
await show('SIGTERM', 2, async () => {
  server.kill('SIGTERM')
  isOver = true
  await Promise.all([...clients, ended])
})
const [code, signal] = await ended
console.log(`\nIt ended with ${signal ?? code}`)
if (signal !== 'SIGTERM') process.exitCode = 1

async function show(what, expected, act) {
  Object.assign(count, { answered: 0, lost: 0 })
  said.length = 0
  await wait(PAUSE)
  await act()
  const closed = said.filter((line) => line.endsWith('has closed its database')).length
  if (count.lost > 0 || count.answered === 0 || closed !== expected) process.exitCode = 1
  console.log(
    `${what.padEnd(28)}${String(count.answered).padStart(8)}${String(count.lost).padStart(7)}   ${closed} of ${expected}`,
  )
}

/** Keeps its connection from one request to the next. */
async function client() {
  const agent = new Agent({ keepAlive: true })
  while (!isOver) {
    if (await ask(agent)) count.answered++
    else count.lost++
    if (!isOver) await wait(Math.random() * PAUSE)
  }
  agent.destroy()
}

function ask(agent) {
  return new Promise((resolve) => {
    const request = get(url, { agent }, (response) => {
      response
        .resume()
        .on('end', () => resolve(response.complete))
        .on('error', () => resolve(false))
    })
    request.on('error', () => resolve(false))
  })
}

/** The line that the server says; it may have said it already. */
async function says(pattern) {
  for (;;) {
    const found = said.map((line) => pattern.exec(line)).find(Boolean)
    if (found) return found
    await Promise.race([once(told, 'line'), ended.then(() => Promise.reject(new Error(`it has ended\n${said.join('\n')}`)))])
  }
}
