// Ends two programs with three threads each, one with exodos, one without; looks from outside at how many of their
// connections said goodbye, and how many of their directories are left. Ends with code 1 when exodos leaves anything.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { stopOnExit } from 'exodos/tree'

const WAYS = [
  'process.exit() in each thread',
  'worker.terminate()',
  'process.exit()',
  'uncaught error',
  'a thread never returns',
  'SIGTERM',
  'SIGKILL',
]
const THREADS = 3
/** Milliseconds for a guardian. */
const TOO_LONG = 10_000

const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text

console.log(`${THREADS} threads with a connection and a directory each, on Node ${process.versions.node}\n`)
console.log(paint('bold', `${''.padEnd(31)}${'exodos'.padEnd(34)}without`))
console.log(paint('dim', `${'way'.padEnd(31)}${'goodbyes  left'.padEnd(34)}goodbyes  left`))
for (const way of WAYS) {
  const [ours, other] = await Promise.all([die('with-exodos', way), die('without', way)])
  // Nobody can say goodbye for a process that was killed.
  const isGood = ours.left === 0 && ours.goodbyes === (way === 'SIGKILL' ? 0 : THREADS)
  if (!isGood) process.exitCode = 1
  console.log(`${way.padEnd(31)}${paint(isGood ? 'green' : 'red', words(ours).padEnd(34))}${paint('red', words(other))}`)
}

function words({ goodbyes, left }) {
  return `${goodbyes} of ${THREADS}    ${left === 0 ? 'nothing' : `${left} directories`}`
}

async function die(program, way) {
  let goodbyes = 0
  const database = createServer((socket) => {
    socket.on('error', () => {}).on('data', () => goodbyes++)
    socket.on('end', () => socket.end())
  }).listen(0, '127.0.0.1')
  await once(database, 'listening')
  const path = fileURLToPath(new URL(`${program}.mjs`, import.meta.url))
  const child = spawn(process.execPath, [path, `${database.address().port}`], { stdio: ['pipe', 'pipe', 'ignore'] })
  stopOnExit(child)
  const [line] = await once(child.stdout, 'data')
  const directories = String(line).trim().split(' ')
  const ended = once(child, 'exit')
  if (way.startsWith('SIG')) child.kill(way)
  else child.stdin.write(way)
  await ended

  const left = () => directories.filter((directory) => existsSync(directory))
  if (program === 'with-exodos')
    for (const end = performance.now() + TOO_LONG; left().length > 0 && performance.now() < end; ) await sleep(5)
  const result = { goodbyes, left: left().length }
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
  database.close()
  return result
}
