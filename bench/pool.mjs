/** Pools: against the pools of npm, as their own documentation has them best, and against bare messages. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { copied, interleave, median, spread } from './measure.mjs'
import { spin } from './programs/pool/tasks.cjs'

const exec = promisify(execFile)

/** By engine: the packages that have it, and how messages between processes are best written where all is small. */
const PEERS = {
  threads: { piscina: '', tinypool: '', workerpool: '', 'jest-worker': '', poolifier: '' },
  processes: { tinypool: 'advanced', workerpool: 'json', 'jest-worker': 'advanced', poolifier: 'json' },
}
const OURS = 'exodos'
/** One message a task, and, for information, as many as 32 in each. */
const RAW = 'raw'
const RAW_BATCH = 'raw-batch'
/** Milliseconds of a sample. */
const SAMPLE = 80
/** Milliseconds without an answer after which a pool has lost a task. */
const LOST = 30_000
const WORKERS = 2

export async function benchmark({ node, rounds = 11 }) {
  const state = mkdtempSync(join(tmpdir(), 'exodos-bench-pool-'))
  const notes = []
  const env = { PATH: process.env.PATH, EXODOS_STATE_DIR: join(state, 'state') }
  const bench = { node, rounds, notes, env, installed: install(notes) }
  try {
    const rows = []
    for (const engine of ['threads', 'processes']) {
      rows.push(...(await manyAtOnce(bench, engine)))
      rows.push(...(await oneAtATime(bench, engine)))
      rows.push(...(await payloads(bench, engine)))
      rows.push(...(await starts(bench, engine)))
    }
    return Object.assign(rows, { notes })
  } finally {
    rmSync(state, { recursive: true, force: true, maxRetries: 5 })
  }
}

async function manyAtOnce(bench, engine) {
  const { notes } = bench
  const times = calibrated()
  const noop = { kind: 'rate', name: 'noop', lanes: 256, ms: SAMPLE }
  const busy = { kind: 'rate', name: 'spin', input: times, lanes: 256, ms: SAMPLE }
  return withHosts(bench, engine, [OURS, RAW, RAW_BATCH], WORKERS, undefined, async (hosts) => {
    const rates = await sampled(bench, hosts, noop)
    const work = await sampled(bench, hosts, busy)
    const efficiency = Object.entries(work).map(([name, each]) => `${name} ${(median(each) / (WORKERS * 10)).toFixed(1)} %`)
    notes.push(`${engine}, 1 ms CPU, of ${WORKERS} processors for the tasks alone: ${efficiency.join(', ')}`)
    return [
      ...both(bench, `${engine}, no-op, 256 in flight`, rates, { unit: '/s', least: 1 }),
      ...both(bench, `${engine}, 1 ms CPU, 256 in flight`, work, { unit: '/s', least: 0.95 }),
    ]
  })
}

async function oneAtATime(bench, engine) {
  const ask = { kind: 'trips', ms: SAMPLE }
  return withHosts(bench, engine, [OURS, RAW], 1, undefined, async (hosts) => {
    const subjects = Object.entries(hosts).map(([name, host]) => [name, () => host.ask(ask)])
    const samples = await interleave(bench.rounds, Object.fromEntries(subjects))
    const of = (part) => Object.fromEntries(Object.entries(samples).map(([name, all]) => [name, all.map((each) => each[part])]))
    return [
      ...both(bench, `${engine}, 1 in flight, p50`, of('p50'), { unit: 'µs', most: 1.05 }),
      ...both(bench, `${engine}, 1 in flight, p99`, of('p99'), { unit: 'µs', most: 1.05, mostOfRaw: 1.1 }),
    ]
  })
}

async function payloads(bench, engine) {
  const ask = { kind: 'rate', name: 'echo', input: 65_536, lanes: 16, ms: SAMPLE }
  return withHosts(bench, engine, [OURS, RAW], WORKERS, 'advanced', async (hosts) => {
    const aim = { unit: '/s', least: 0.95 }
    const rows = both(bench, `${engine}, 64 KB there and back`, await sampled(bench, hosts, ask), aim)
    if (engine === 'processes') return rows
    // It hands nothing over.
    const { 'jest-worker': _, ...able } = hosts
    return [...rows, ...both(bench, `${engine}, 64 KB handed over`, await sampled(bench, able, { ...ask, name: 'move' }), aim)]
  })
}

async function starts({ node, rounds, env, ...bench }, engine) {
  const { installed } = bench
  const start = (name) => async () => {
    const words = [copied('pool/start.mjs'), name, engine, PEERS[engine][name] || 'advanced']
    return JSON.parse((await exec(node, words, { env, timeout: 30_000 })).stdout)
  }
  const names = [OURS, RAW, ...Object.keys(PEERS[engine]).filter((name) => installed.includes(name))]
  const samples = await interleave(
    Math.max(9, Math.ceil(rounds / 2)),
    Object.fromEntries(names.map((name) => [name, start(name)])),
  )
  return both(bench, `${engine}, start to first result`, samples, { unit: 'ms', most: 1.05 })
}

/** Each library has a process of its own, which lives as long as it is asked, and has nothing to do while others are. */
async function withHosts({ node, env, installed }, engine, others, size, serialization, use) {
  const names = [...others, ...Object.keys(PEERS[engine]).filter((name) => installed.includes(name))]
  const hosts = {}
  try {
    for (const name of names) {
      const written = serialization ?? (PEERS[engine][name] || 'advanced')
      hosts[name] = await startHost(node, env, [name, engine, size, written])
    }
    return await use(hosts)
  } finally {
    await Promise.all(Object.values(hosts).map((host) => host.end()))
  }
}

async function startHost(node, env, words) {
  const child = spawn(node, [copied('pool/host.mjs'), ...words.map(String)], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (what) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), LOST)
    const { value, done } = await lines.next()
    clearTimeout(timer)
    if (done) throw new Error(`host.mjs ${words.join(' ')} has ended, or not answered in time: ${what}`)
    return JSON.parse(value)
  }
  await next('its first tasks')
  return {
    ask: (what) => {
      child.stdin.write(`${JSON.stringify(what)}\n`)
      return next(JSON.stringify(what))
    },
    end: async () => {
      const timer = setTimeout(() => child.kill('SIGKILL'), LOST)
      child.stdin.end()
      await gone
      clearTimeout(timer)
    },
  }
}

/** Tasks a second, by name. What is compiled while it runs is so by then. */
async function sampled({ rounds }, hosts, what) {
  for (const host of Object.values(hosts)) await host.ask({ ...what, ms: SAMPLE * 3 })
  const ask = (host) => async () => (await host.ask(what)).rate
  return interleave(rounds, Object.fromEntries(Object.entries(hosts).map(([name, host]) => [name, ask(host)])))
}

/** A row against the best of the peers and one against bare messages; all figures are a note. */
function both({ notes, installed }, what, samples, { unit, least, most, mostOfRaw }) {
  const figures = Object.entries(samples).map(([name, each]) => [name, median(each)])
  figures.sort(([, a], [, b]) => (least ? b - a : a - b))
  notes.push(`${what}, ${unit}: ${figures.map(([name, each]) => `${name} ${figure(each)}`).join(', ')}`)
  const best = figures.map(([name]) => name).find((name) => installed.includes(name))
  return [
    ...(best ? [versus(what, samples, best, unit, { least, most })] : []),
    versus(what, samples, RAW, unit, { most: mostOfRaw }),
  ]
}

/** The ratio is that of samples of the same round: whatever slows down one slows down both. */
function versus(what, samples, peer, unit, { least, most }) {
  const ratio = median(samples[OURS].map((value, round) => value / samples[peer][round]))
  const aim = least ? `≥ ${least}` : most ? `≤ ${most}` : ''
  return {
    what,
    ours: spread(samples[OURS], unit),
    peer: `${peer} ${spread(samples[peer], unit)}`,
    ratio: ratio.toFixed(2),
    aim,
    met: aim && ((least ? ratio >= least : ratio <= most) ? 'yes' : 'no'),
  }
}

const figure = (value) => (value < 100 ? value.toPrecision(3) : Math.round(value).toLocaleString('en'))

/** So many rounds take a millisecond: the quickest of several. */
function calibrated() {
  const times = 1_000_000
  const took = Array.from({ length: 40 }, () => {
    const began = performance.now()
    spin(times)
    return performance.now() - began
  })
  return Math.round(times / Math.min(...took))
}

/** What is built here is copied beside what is copied already; a peer, which nobody builds, is only found from there. */
function install(notes) {
  const place = (name) => new URL(`../node_modules/${name}`, import.meta.url)
  const from = realpathSync(place('@exodos/pool'))
  for (const each of ['dist', 'package.json'])
    cpSync(join(from, each), join(copied('node_modules/@exodos/pool'), each), { recursive: true })
  return [...new Set(Object.values(PEERS).flatMap((peers) => Object.keys(peers)))].filter((name) => {
    if (!existsSync(place(name))) {
      notes.push(`not measured against ${name}: it is not installed`)
      return false
    }
    const link = join(copied('node_modules'), name)
    mkdirSync(dirname(link), { recursive: true })
    symlinkSync(realpathSync(place(name)), link)
    return true
  })
}
