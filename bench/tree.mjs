/** Child processes and threads that are stopped on the way out: what a start costs, and what an exit. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { compare, copied, interleave, median, minus } from './measure.mjs'

const ADOPTS = ['--import', 'exodos/register']
/** As many as until those that have ended are looked after. */
const BATCH = 64

/** Ways out by what children there are, and how many of them. */
const FAMILIES = [
  ...[0, 1, 10, 100].map((n) => ['sleep', n]),
  ...[1, 10].map((n) => ['node', n]),
  ...[0, 1, 8].map((n) => ['thread', n]),
]

export async function benchmark({ node, rounds = 10 }) {
  const state = mkdtempSync(join(tmpdir(), 'exodos-bench-tree-'))
  const notes = []
  const bench = { node, rounds, notes, env: { PATH: process.env.PATH, EXODOS_STATE_DIR: join(state, 'state') } }
  try {
    return Object.assign([...(await firstSpawn(bench)), ...(await spawns(bench)), ...(await exits(bench))], { notes })
  } finally {
    rmSync(state, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** It loads what adopts children, and starts the guardian. */
async function firstSpawn(bench) {
  const sample = (options) => async () => {
    const spawner = await startSpawner(bench, options, 0)
    const figures = await spawner.spawn(1)
    await spawner.end()
    return figures
  }
  const { ours, plain } = await interleave(bench.rounds * 2, { ours: sample(ADOPTS), plain: sample([]) })
  const of = (samples, part) => samples.map((each) => each[part])
  return [
    compare('first spawn(), the call', of(ours, 'call'), 'plain', of(plain, 'call'), 'ms'),
    compare('first spawn(), CPU', of(ours, 'cpu'), 'plain', of(plain, 'cpu'), 'ms'),
  ]
}

/** Two programs that live as long as it takes are asked in turn. */
async function spawns(bench) {
  const rows = []
  for (const live of [0, 10, 500]) {
    const [ours, plain] = [await startSpawner(bench, ADOPTS, live), await startSpawner(bench, [], live)]
    try {
      const sample = (spawner) => () => spawner.spawn(BATCH)
      const samples = await interleave(bench.rounds * 2, { ours: sample(ours), plain: sample(plain) })
      for (const [part, what] of Object.entries({ end: 'to its end', call: 'the call', cpu: 'CPU' })) {
        const of = (name) => samples[name].map((each) => each[part])
        const beside = live ? `, beside ${live} children` : ''
        rows.push(compare(`spawn('true')${beside}, ${what}`, of('ours'), 'plain', of('plain'), 'ms', 1.03))
      }
    } finally {
      await Promise.all([ours.end(), plain.end()])
    }
  }
  return rows
}

async function startSpawner({ node, env }, options, live) {
  const args = [...options, copied('tree-spawn.mjs'), String(live)]
  const child = spawn(node, args, { env, cwd: copied('.'), stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  await lines.next()
  return {
    spawn: async (times) => {
      child.stdin.write(`${times}\n`)
      const { value } = await lines.next()
      return JSON.parse(value)
    },
    end: async () => {
      child.stdin.end()
      await once(child, 'exit')
    },
  }
}

async function exits(bench) {
  const rows = []
  const ways = { SIGTERM: (child) => child.kill('SIGTERM'), 'process.exit': (child) => child.stdin.write('exit') }
  for (const [kind, count] of FAMILIES) {
    for (const [way, act] of Object.entries(ways)) {
      const sample = (how) => () => timeToExit(bench, act, [how, kind, 0, count])
      const samples = await interleave(bench.rounds, { ours: sample('exodos'), plain: sample('plain') })
      const words = { sleep: 'sleep', node: 'Node', thread: 'thread' }[kind]
      rows.push(added(bench, `${way}, ${count} × ${words}`, samples))
    }
  }
  // Each with a hook of 100 ms: 300 for all levels.
  const sample = (how) => () => timeToExit(bench, ways.SIGTERM, [how, 'node', 100, 7, 6])
  const samples = await interleave(Math.ceil(bench.rounds / 2), { ours: sample('exodos'), plain: sample('plain') })
  rows.push(added(bench, 'SIGTERM, 50 Nodes in 3 levels, each with a hook of 100 ms', samples))
  return rows
}

function added({ notes }, what, { ours, plain }) {
  notes.push(`${what}: ${median(minus(ours, plain)).toFixed(1)} ms added`)
  return compare(what, ours, 'by hand', plain, 'ms')
}

async function timeToExit({ node, env }, act, words) {
  const args = [...(words[0] === 'exodos' ? ADOPTS : []), copied('tree-exit.mjs'), ...words.map(String)]
  const child = spawn(node, args, { env, cwd: copied('.'), stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  await Promise.race([once(child.stdout, 'data'), gone.then(() => Promise.reject(new Error(`${args.join(' ')} ended`)))])
  const began = performance.now()
  act(child)
  await gone
  return performance.now() - began
}
