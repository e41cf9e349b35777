// Ends two programs that make thumbnails in two threads, one with exodos, one with piscina alone, in the middle of their
// work; looks from outside at how many catalogues were closed, and how many directories are left. Ends with code 1 when
// exodos leaves anything.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { tempDir } from 'exodos/temp'
import { stopOnExit } from 'exodos/tree'
import { samplesIn } from './samples.mjs'

const WAYS = ['end of the work', 'process.exit()', 'uncaught error', 'a task never returns', 'SIGTERM', 'SIGKILL']
const THREADS = 2
/** Milliseconds for a guardian. */
const TOO_LONG = 10_000

const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text
const place = tempDir({ prefix: 'thumbnails' })
const samples = join(place.path, 'samples')
const images = samplesIn(samples)

console.log(`${THREADS} threads with a catalogue and a directory each, on Node ${process.versions.node}\n`)
console.log(paint('bold', `${''.padEnd(24)}${'exodos'.padEnd(36)}piscina`))
console.log(paint('dim', `${'way'.padEnd(24)}${'catalogues  left'.padEnd(36)}catalogues  left`))
for (const way of WAYS) {
  const [ours, other] = await Promise.all([die('with-exodos', way), die('without', way)])
  // Nobody can write for a process that was killed.
  const isGood = ours.left === 0 && (way === 'SIGKILL' || ours.open === 0)
  if (!isGood) process.exitCode = 1
  console.log(`${way.padEnd(24)}${paint(isGood ? 'green' : 'red', words(ours).padEnd(36))}${paint('red', words(other))}`)
}

function words({ open, left }) {
  return `${(open === 0 ? 'closed' : `${open} open`).padEnd(12)}${left === 0 ? 'nothing' : `${left} directories`}`
}

async function die(program, way) {
  const directory = join(place.path, `${program} ${way}`)
  cpSync(samples, directory, { recursive: true })
  const path = fileURLToPath(new URL(`${program}.mjs`, import.meta.url))
  const args = way.startsWith('end') ? [directory] : [directory, way]
  const child = stopOnExit(spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'ignore', 'pipe'] }))
  const ended = once(child, 'exit')
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (way.startsWith('SIG') && line === `${images.length} of ${images.length}`) child.kill(way)
  })
  await ended

  const thumbnails = join(directory, 'thumbnails')
  const files = (what) => readdirSync(thumbnails).filter((name) => name.startsWith(what))
  if (program === 'with-exodos')
    for (const end = performance.now() + TOO_LONG; files('scratch').length > 0 && performance.now() < end; ) await sleep(5)
  const open = files('catalogue').filter((name) => !readFileSync(join(thumbnails, name), 'utf8').endsWith('closed\n'))
  return { open: open.length, left: files('scratch').length }
}
