/** Records, the guardian, temporary files and locks: what they cost, and how soon after a SIGKILL all is clean. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { ask, compare, copied, interleave, median, spread } from './measure.mjs'

const GUARDIANS = 200
/** Milliseconds that a guardian sleeps while its CPU time is watched. */
const SLEEP = 10_000
const SIZES = [1, 100, 10_000]
/** Files of the memory, where there are some: what is measured then is us and not the disk. */
const MEMORY = '/dev/shm'

export async function benchmark({ node, rounds = 5 }) {
  const root = mkdtempSync(join(tmpdir(), 'exodos-bench-durable-'))
  const state = join(root, 'state')
  mkdirSync(state, { mode: 0o700 })
  const notes = []
  const bench = { node, rounds, root, state, notes, peers: copyPeers(notes) }
  try {
    const rows = [
      ...(await records(bench)),
      ...(await firstCall(bench)),
      ...(await imports(bench)),
      ...(await temporary(bench)),
      ...(await locks(bench)),
      ...(await recovery(bench)),
      ...(process.platform === 'linux' ? await guardians(bench) : []),
    ]
    return Object.assign(rows, { notes })
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

async function records({ node, rounds, root }) {
  const rows = []
  for (const live of [0, 1000, 100_000]) {
    const samples = await take(rounds, () => ask(node, 'durable-records', live, join(root, 'records')))
    for (const [what, words] of Object.entries({ command: 'a command', path: 'a path', temp: 'of tempDir' })) {
      const beside = live ? `, beside ${live.toLocaleString('en')}` : ''
      const row = compare(`record + cancel, ${words}${beside}`, samples[what], 'two bare writes', samples.bare, '/s')
      rows.push({ ...row, aim: '≥ 200,000/s', met: median(samples[what]) >= 200_000 ? 'yes' : 'no' })
    }
  }
  return rows
}

async function firstCall({ node, rounds, state, notes }) {
  const rows = []
  for (const [megabytes, descriptors] of [
    [0, 0],
    [0, 5000],
    [500, 0],
    [500, 5000],
  ]) {
    const sample = (what) => () => ask(node, 'durable-first', what, state, megabytes, descriptors)
    const samples = await interleave(rounds * 4, { ours: sample('ours'), parts: sample('parts'), spawn: sample('spawn') })
    const of = (name, part = 'blocked') => samples[name].map((each) => each[part])
    const rss = Math.round(median(of('ours', 'rss')))
    const what = `first record, ${rss} MB RSS${descriptors ? `, ${descriptors.toLocaleString('en')} descriptors` : ''}`
    rows.push(compare(what, of('ours'), 'spawn of a shell', of('spawn'), 'ms'))
    const names = Object.keys(samples.parts[0]).filter((part) => !['imported', 'blocked', 'rss'].includes(part))
    const parts = names.map((part) => `${part} ${median(of('parts', part)).toFixed(1)}`)
    notes.push(`${what}: of ${median(of('parts')).toFixed(1)} ms ${parts.join(', ')}`)
  }
  return rows
}

async function imports({ node, rounds, peers }) {
  const names = ['exodos', 'exodos/temp', 'exodos/durable', 'exodos/lock', ...peers]
  const subjects = names.map((name) => [name, () => ask(node, 'durable-import', name)])
  const samples = await interleave(rounds * 4, Object.fromEntries(subjects))
  const row = (name, peer) => compare(`import of ${name}, CPU`, samples[name], peer, samples[peer], 'ms')
  const faces = names.slice(1, 4)
  return [
    ...faces.map((name) => row(name, 'exodos')),
    ...(samples.tmp ? [row('exodos/temp', 'tmp')] : []),
    ...(samples['proper-lockfile'] ? [row('exodos/lock', 'proper-lockfile')] : []),
  ]
}

async function temporary({ node, rounds, state, peers }) {
  const rows = []
  const peer = peers.filter((name) => name === 'tmp')
  for (const place of places()) {
    const samples = await take(rounds, () => ask(node, 'durable-temp', place, state, ...peer))
    const what = (how) => `tempDir made and removed, ${how}, ${place}`
    rows.push(compare(what('sync'), samples.ours, 'mkdtempSync + rmSync', samples.bare, 'µs', 1.3))
    rows.push(compare(what('sync'), samples.ours, 'mkdtempSync + rmdirSync', samples.barest, 'µs'))
    if (samples.tmp) rows.push(compare(what('sync'), samples.ours, 'tmp', samples.tmp, 'µs'))
    rows.push(compare(what('async'), samples.oursAsync, 'mkdtemp + rm', samples.bareAsync, 'µs', 1.3))
    if (samples.tmpAsync) rows.push(compare(what('async'), samples.oursAsync, 'tmp', samples.tmpAsync, 'µs'))
  }
  return rows
}

async function locks({ node, rounds, state, peers }) {
  const rows = []
  const peer = peers.filter((name) => name === 'proper-lockfile')
  for (const place of places()) {
    const samples = await take(rounds, () => ask(node, 'durable-lock', place, state, ...peer))
    const what = `lockFile, taken and given back, ${place}`
    rows.push(compare(what, samples.ours, "open('wx') + unlink", samples.bare, 'µs'))
    if (samples.peer) rows.push(compare(what, samples.ours, 'proper-lockfile', samples.peer, 'µs'))
  }
  return rows
}

/** From the moment that the parent sees the end of the process. */
async function recovery({ node, rounds, root, state }) {
  const rows = []
  for (const [what, words] of Object.entries({ tree: 'in a temporary directory', records: 'each with a record' })) {
    for (const size of SIZES) {
      const times = []
      const directory = join(root, 'files')
      for (let n = 0; n < rounds * 2; n++) times.push(await killAndWait({ node, state, what, size, directory }))
      const files = size === 1 ? '1 file' : `${size.toLocaleString('en')} files`
      rows.push(alone(`SIGKILL to clean, ${files} ${words}`, times, 'ms', 333))
    }
  }
  return rows
}

async function killAndWait({ node, state, what, size, directory }) {
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const { child, gone, path } = await startOwner(node, what, size, directory, state)
  child.kill('SIGKILL')
  await gone
  const began = performance.now()
  // What was made first is removed last, and moved aside first.
  while (existsSync(path) || readdirSync(directory).length > 0) {
    if (performance.now() - began > 60_000) throw new Error(`${directory} is not empty`)
    await setTimeout(1)
  }
  return performance.now() - began
}

async function guardians({ node, root, state }) {
  const owners = []
  const directory = join(root, 'owned')
  mkdirSync(directory, { mode: 0o700 })
  const start = async () => owners.push(await startOwner(node, 'records', 0, directory, state))
  try {
    await start()
    const [first] = owners
    const one = memory(guardianOf(first.child.pid))
    const before = cpuTime(guardianOf(first.child.pid))
    await setTimeout(SLEEP)
    const cpu = cpuTime(guardianOf(first.child.pid)) - before
    while (owners.length < GUARDIANS) await Promise.all([start(), start()])
    const all = owners.map(({ child }) => memory(guardianOf(child.pid)))
    const sum = (name) => all.reduce((total, each) => total + each[name], 0)
    const rss = all.map(({ Rss }) => Rss)
    return [
      alone('memory of a guardian, RSS', [one.Rss], 'MiB', 2),
      alone('memory of a guardian, PSS', [one.Pss], 'MiB'),
      alone(`memory of each of ${GUARDIANS} guardians, RSS`, rss, 'MiB', 2),
      alone(`memory of ${GUARDIANS} guardians together, PSS`, [sum('Pss')], 'MiB'),
      alone(`CPU of a guardian that sleeps ${SLEEP / 1000} s`, [cpu], 'ms', 0),
    ]
  } finally {
    for (const { child } of owners) child.kill('SIGTERM')
    await Promise.all(owners.map(({ gone }) => gone))
  }
}

/** A process with records, which waits. `path` is gone when all of them are done. */
async function startOwner(node, ...words) {
  const args = [copied('durable-owner.mjs'), ...words.map(String)]
  const child = spawn(node, args, { env: { PATH: process.env.PATH }, stdio: ['ignore', 'pipe', 'inherit'] })
  const gone = once(child, 'exit')
  const [data] = await Promise.race([once(child.stdout, 'data'), gone.then(() => Promise.reject(new Error('no owner')))])
  return { child, gone, ...JSON.parse(data) }
}

function guardianOf(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  if (children.length !== 1 || children[0] === '') throw new Error(`process ${pid} has no guardian, or several children`)
  return children[0]
}

/** In MiB. */
function memory(pid) {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8')
  return Object.fromEntries(Array.from(text.matchAll(/^(Rss|Pss):\s+(\d+) kB/gm), ([, name, kb]) => [name, kb / 1024]))
}

/** Milliseconds on a processor, by the scheduler's own clock. */
const cpuTime = (pid) => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6

/** A row without a peer. */
function alone(what, samples, unit, most) {
  const aim = most === undefined ? '' : `≤ ${most} ${unit}`
  const met = most === undefined ? '' : median(samples) <= most ? 'yes' : 'no'
  return { what, ours: spread(samples, unit), peer: '', ratio: '', aim, met }
}

/** Samples of processes in which all take turns, by name. */
async function take(rounds, sample) {
  const all = []
  for (let n = 0; n < rounds; n++) all.push(await sample())
  return Object.fromEntries(Object.keys(all[0]).map((name) => [name, all.map((each) => each[name])]))
}

function places() {
  return [tmpdir(), MEMORY].filter((place) => {
    try {
      accessSync(place, constants.W_OK)
      return true
    } catch {
      return false
    }
  })
}

/** Those that are installed are copied, with what they need themselves, beside what is copied already. */
function copyPeers(notes) {
  const place = (name) => new URL(`../node_modules/${name}`, import.meta.url)
  return Object.entries({ tmp: [], 'proper-lockfile': ['graceful-fs', 'retry'] }).flatMap(([name, needs]) => {
    const packages = [name, ...needs]
    if (!packages.every((each) => existsSync(place(each)))) {
      notes.push(`not measured against ${name}: it is not installed`)
      return []
    }
    for (const each of packages) cpSync(place(each), join(copied('node_modules'), each), { recursive: true })
    return [name]
  })
}
