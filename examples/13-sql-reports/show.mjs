// Ends two programs whose processes have a connection to a database each, one with exodos, one with jest-worker alone; looks
// from outside at what is left of their copies, and whether those can be opened. Ends with code 1 when exodos leaves anything.
// Linux only: it looks into /proc.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { onExit } from 'exodos'
import { tempDir } from 'exodos/temp'
import sqlite from 'node-sqlite3-wasm'

const WAYS = [
  'end of the work',
  'process.exit()',
  'uncaught error',
  'a report that never ends',
  'a process is killed',
  'SIGTERM',
  'SIGKILL',
]
/** Milliseconds: for what runs on for ever; for a guardian, and for processes to leave. */
const PATIENCE = 300
const TOO_LONG = 10_000

const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text
const place = tempDir({ prefix: 'reports' })

console.log(`2 processes with a connection each, on Node ${process.versions.node}\n`)
console.log(paint('dim', `${'way'.padEnd(27)}${'left by exodos'.padEnd(17)}left by jest-worker`))
for (const way of WAYS) {
  const [ours, other] = await Promise.all([die('with-exodos', way), die('without', way)])
  const isGood = ours.length === 0
  if (!isGood) process.exitCode = 1
  console.log(`${way.padEnd(27)}${paint(isGood ? 'green' : 'red', words(ours).padEnd(17))}${paint('red', words(other))}`)
}

/** What a next start would find. */
function words(copies) {
  if (copies.length === 0) return 'nothing'
  const [problem] = copies.map(open).filter(Boolean)
  return `${copies.length} ${copies.length > 1 ? 'copies' : 'copy'}${problem ? `: ${problem}` : ''}`
}

function open(path) {
  const database = new sqlite.Database(path)
  try {
    database.get('SELECT count(*) FROM sales')
    return undefined
  } catch (error) {
    return error.message
  } finally {
    database.close()
  }
}

async function die(program, way) {
  const directory = join(place.path, `${program} ${way}`)
  const path = fileURLToPath(new URL(`${program}.mjs`, import.meta.url))
  const args = way.startsWith('end') ? [directory] : [directory, way]
  // A group of its own: what runs on is ended with it.
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
  const hook = onExit(() => endGroup(child.pid), { name: program, sync: true })
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line === 'ready to leave' && way.startsWith('SIG')) child.kill(way)
  })
  await once(child, 'exit')

  const left = () =>
    readdirSync(directory)
      .map((name) => join(directory, name, 'copy.db'))
      .filter((copy) => existsSync(copy))
  const end = performance.now() + (program === 'without' && way.includes('never') ? PATIENCE : TOO_LONG)
  const isOver = () => left().length === 0 || (program === 'without' && !isGroup(child.pid))
  while (!isOver() && performance.now() < end) await sleep(5)
  endGroup(child.pid)
  hook.cancel()
  return left()
}

/** Does any process of the group run? */
function isGroup(pid) {
  return readdirSync('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      const [, state, , group] = readFileSync(`/proc/${name}/stat`, 'utf8').match(/.*\) (\S) (\d+) (\d+)/) ?? []
      return Number(group) === pid && state !== 'Z'
    } catch {
      // It has ended.
      return false
    }
  })
}

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has ended.
  }
}
