import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const exec = promisify(execFile)
// Options for Node, a compile cache or the settings of exodos in our own environment would be measured too.
const env = { PATH: process.env.PATH }

// The programs and packages are copied first: a build during a run must not change what is measured.
const dir = mkdtempSync(join(tmpdir(), 'exodos-bench-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
cpSync(fileURLToPath(new URL('programs', import.meta.url)), dir, { recursive: true })
for (const name of ['exodos', 'signal-exit', 'exit-hook']) {
  const from = realpathSync(new URL(`../node_modules/${name}`, import.meta.url))
  const filter = (path) => !/^[/\\](src|test)\b/.test(path.slice(from.length))
  cpSync(from, join(dir, 'node_modules', name), { recursive: true, filter })
}

const program = (name) => join(dir, `${name}.mjs`)

/** Runs one of bench/programs, behind options of Node's, and returns the JSON it prints. */
export async function ask(node, ...words) {
  const at = words.findIndex((word) => !word.startsWith('--'))
  const args = [...words.slice(0, at), program(words[at]), ...words.slice(at + 1).map(String)]
  const { stdout } = await exec(node, args, { env, timeout: 60_000 })
  return JSON.parse(stdout)
}

/** The path of a copy. */
export const copied = (name) => join(dir, name)

/** Milliseconds from the start of a process to its end. `args` of Node begin with one of bench/programs. */
export async function wallTime(command, [first, ...rest], options = {}) {
  const args =
    first && existsSync(program(first)) ? [program(first), ...rest] : [first, ...rest].filter((arg) => arg !== undefined)
  const child = spawn(command, args, { env, stdio: 'ignore', ...options })
  const began = performance.now()
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`)
  return performance.now() - began
}

/** CPU time of whole processes, user and system, in milliseconds a process. Bash tells milliseconds, hence several at once. */
export async function cpuTime(node, name, times = 4) {
  const script = 'TIMEFORMAT="%3U %3S"; n=$1; shift; time for ((i = 0; i < n; i++)); do "$@"; done'
  const { stderr } = await exec('bash', ['-c', script, 'bash', times, node, program(name)].map(String), { env })
  const [user, system] = stderr.trim().split('\n').at(-1).split(' ').map(Number)
  return ((user + system) * 1000) / times
}

/** Takes one sample of each in turn, A B C A B C: a machine that gets slower gets slower for all. Returns the samples by name. */
export async function interleave(rounds, subjects) {
  const samples = new Map(Object.keys(subjects).map((name) => [name, []]))
  // The first round warms the disk cache and isn't counted.
  for (let round = -1; round < rounds; round++) {
    for (const [name, sample] of Object.entries(subjects)) {
      const value = await sample()
      if (round >= 0) samples.get(name).push(value)
    }
  }
  return Object.fromEntries(samples)
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2
}

/** The samples of one minus those of another from the same rounds. */
export const minus = (values, baseline) => values.map((value, round) => value - baseline[round])

/** "2.31 ms (2.10–2.75)": median, lowest and highest. */
export function spread(values, unit) {
  const text = (value) => (Math.abs(value) < 100 ? value.toPrecision(3) : Math.round(value).toLocaleString('en'))
  return `${text(median(values))} ${unit} (${text(Math.min(...values))}–${text(Math.max(...values))})`
}

/** A row of the final table: samples of ours against samples of a peer; `most` is the highest ratio aimed at. */
export function compare(what, ours, peerName, peer, unit, most) {
  const ratio = median(ours) / median(peer)
  return {
    what,
    ours: spread(ours, unit),
    peer: `${peerName} ${spread(peer, unit)}`,
    ratio: ratio.toFixed(2),
    aim: most === undefined ? '' : `≤ ${most}`,
    met: most === undefined ? '' : ratio <= most ? 'yes' : 'no',
  }
}
