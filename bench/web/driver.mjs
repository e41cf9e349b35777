/**
 * Drives one server through its shutdown: many users of many kinds, SIGTERM in the middle, and the account of what each of
 * them got. Seeded; the result is data.
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { createSecureContext } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { chance } from './content.mjs'
import { longLived } from './long-lived.mjs'
import { Tally } from './tally.mjs'
import { users as plainUsers } from './users.mjs'
import { usersH2 } from './users-h2.mjs'

const behaviours = { ...plainUsers, ...longLived, ...usersH2 }

/** Users of each kind, of 100. */
export const MIX = {
  'keep-alive': 51,
  slow: 6,
  stream: 4,
  upload: 4,
  pipeline: 6,
  'half head': 6,
  fresh: 4,
  preconnect: 2,
  https: 4,
  h2c: 2,
  h2: 2,
  ws: 3,
  sse: 3,
  upgrade: 3,
}

export const STACKS = ['exodos', 'close', 'http-graceful-shutdown', 'http-terminator', 'stoppable', 'terminus', 'terminus-delay']

const ca = readFileSync(new URL('../../packages/web/test/support/localhost.pem', import.meta.url))
// One for all: to make one takes longer than to connect.
const secureContext = createSecureContext({ ca })

/**
 * `stack`: one of `servers`. `answersBefore`: so many answers until SIGTERM. `grace`: whoever hasn't left 2 s after it is
 * killed. `think`: the longest pause of a user. `streamChunk`: a tenth of a large answer, in bytes.
 */
export async function drive({
  stack,
  connections = 50,
  mix = MIX,
  seed = 1,
  answersBefore = connections > 1000 ? connections * 4 : connections * 20,
  think = 1000,
  grace = 10_000,
  streamChunk = connections > 1000 ? 6400 : 25_600,
  ramp = connections,
  node = process.execPath,
  nodeOptions = [],
  env = {},
}) {
  const server = await startServer(stack, { node, nodeOptions, env })
  const delay = monitorEventLoopDelay({ resolution: 5 })
  const tally = new Tally()
  try {
    const run = { tally, ports: server.ports, secureContext, think, streamChunk }
    const users = share(mix, connections, server.ports).map((kind, id) => new User(run, id, kind, seed))
    for (const user of users) user.done = user.live(ramp)
    await until(() => tally.answers >= answersBefore, 120_000, `${answersBefore} answers from ${stack}`)
    delay.enable()
    tally.leave()
    const left = performance.now()
    server.child.kill('SIGTERM')
    const timer = setTimeout(() => {
      tally.killed = true
      server.child.kill('SIGKILL')
    }, grace + 2000)
    const { code, signal } = await server.ended
    const exitMs = Math.round(performance.now() - left)
    clearTimeout(timer)
    tally.ended = true
    // What was written is in the kernel's hands now, and comes at once; a SYN that was dropped is refused after 1 or 3 s.
    await Promise.race([Promise.all(users.map((user) => user.done)), wait(10_000)])
    delay.disable()
    return {
      stack,
      connections,
      seed,
      ...tally.result(),
      exitMs,
      exit: tally.killed ? 'killed' : (signal ?? `code ${code}`),
      stuck: users.filter((user) => !user.finished).length,
      released: server.said.released,
      stderr: server.stderr(),
      driverDelay: { p99: Math.round(delay.percentile(99) / 1e6), max: Math.round(delay.max / 1e6) },
    }
  } finally {
    tally.stopping = true
    server.child.kill('SIGKILL')
    await server.ended
  }
}

async function startServer(stack, { node, nodeOptions, env }) {
  const file = fileURLToPath(new URL(`servers/${stack}.mjs`, import.meta.url))
  const child = spawn(node, [...nodeOptions, file], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  const said = {}
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data) => {
    const lines = (stdout + data).split('\n')
    stdout = lines.pop()
    for (const line of lines) Object.assign(said, JSON.parse(line))
  })
  child.stderr.on('data', (data) => {
    stderr += data
  })
  child.once('error', (error) => {
    stderr += error.message
  })
  const ended = new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal })))
  await until(() => said.ports || child.exitCode !== null, 10_000, `${stack} to listen`)
  if (!said.ports) throw new Error(`${stack} didn't start\n${stderr}`)
  return { child, ports: said.ports, said, ended, stderr: () => stderr }
}

/** The kind of each user. At least one of each; whose listener a stack doesn't have is a keep-alive user. */
function share(mix, connections, ports) {
  const whole = Object.values(mix).reduce((sum, part) => sum + part, 0)
  const [first, ...others] = Object.keys(mix)
  const kinds = others.flatMap((kind) => Array(Math.max(1, Math.floor((connections * mix[kind]) / whole))).fill(kind))
  const rest = Array(Math.max(0, connections - kinds.length)).fill(first)
  return [...rest, ...kinds].map((kind) => (['https', 'h2c', 'h2'].includes(kind) && !ports[kind] ? first : kind))
}

class User {
  #ids = 0

  constructor(run, id, kind, seed) {
    this.run = run
    this.id = id
    this.kind = kind
    this.chance = chance(seed * 1_000_003 + id)
  }

  /** A number that no other request has. */
  nextId() {
    return this.id * 100_000 + this.#ids++
  }

  pause(ms) {
    return wait(ms)
  }

  stopped() {
    return this.run.tally.stopping
  }

  async live(ramp) {
    this.run.tally.of(this).users++
    await wait(this.chance.between(0, ramp))
    await behaviours[this.kind](this)
    this.finished = true
  }
}

async function until(holds, limit, what) {
  const began = performance.now()
  while (!holds()) {
    if (performance.now() - began > limit) throw new Error(`waited ${limit} ms for ${what}`)
    await wait(5)
  }
}
