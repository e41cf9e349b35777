// Starts the server in each of its four variants, once for each way out, with an upload under way; looks from outside
// at what became of it, and prints a table. Ends with code 1 when exodos falls short.
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClassicLevel } from 'classic-level'
import { fill, finishedCleanups, inTurns, kill, paint, startRegistry, startServer } from './from-outside.mjs'
import { waysOut } from './ways-out.mjs'

const VARIANTS = ['exodos', 'process-on-exit', 'signal-exit', 'exit-hook']
const TOO_LONG = 15_000

const registry = await startRegistry()
const inTurn = inTurns(4)

console.log(`A server with an upload under way leaves in ${waysOut.length} ways, on Node ${process.versions.node}\n`)
console.log(paint('bold', line('', 'exodos', "on('exit')", 'signal-exit', 'exit-hook')))
console.log(paint('dim', 'way out          done  upload  on disk  exit        ms'))

const rows = waysOut.map((way) => ({ way, outcomes: VARIANTS.map((variant) => inTurn(() => leaveBy(way, variant))) }))
const score = VARIANTS.map(() => 0)
const shortfalls = []
for (const { way, outcomes } of rows) {
  const [ours, ...others] = await Promise.all(outcomes)
  console.log(line(way.name, showOurs(ours), ...others.map(showOther)))
  for (const [i, { isRight }] of [ours, ...others].entries()) score[i] += Number(isRight)
  if (!ours.isRight) shortfalls.push({ way, ours })
}
console.log(paint('bold', line('right', ...score.map((count) => `${count} of ${waysOut.length}`))))
console.log(`
done: cleanups that finished; the 6th, leaving a registry, can't where the registry fails or hangs
✗: a cleanup, the upload, output or the exit status was lost; 143 counts as right for SIGTERM, and so on
The four programs: examples/01-server/with-*.mjs`)

registry.stop()
for (const { way, ours } of shortfalls) {
  const { errors, ...seen } = ours
  console.error(`\n${way.name}: expected exit ${way.exit}, saw`, seen, `\n${errors}`)
}
if (shortfalls.length > 0) process.exitCode = 1

/** Starts a server, makes it leave while an upload is under way, and tells what its parent process sees of it. */
async function leaveBy(way, variant) {
  const { server, dir, closed, errors, upload, leave } = await startServer(variant, way, registry)
  const printed = readSlowly(server.stdout)
  const began = performance.now()
  const exited = once(server, 'exit').then(([code, signal]) => ({ code, signal, ms: performance.now() - began }))
  if (way.inside) leave()
  else server.kill(way.signals[0])
  const late = [
    // The client is slow; a server that doesn't wait for it loses its upload.
    setTimeout(upload.finish, 200),
    setTimeout(() => way.signals?.[1] && server.kill(way.signals[1]), 700),
    setTimeout(() => kill(server), TOO_LONG),
  ]
  const { code, signal, ms } = await exited
  await closed
  for (const timer of late) clearTimeout(timer)
  upload.cancel()

  const exit = signal ?? code
  const { finished, possible } = finishedCleanups(dir, way)
  const isAnswered = await upload.answered
  const left = await leftOnDisk(dir)
  const lostOutput = (way.output ?? 0) - (await printed)
  // Only exodos has to die of the signal itself: 128 + n, which a shell would show for it, is good enough for others.
  const isExitRight = exit === way.exit || (variant !== 'exodos' && exit === 128 + constants.signals[way.exit])
  const isRight = finished === possible && isAnswered && left.length === 0 && lostOutput === 0 && isExitRight
  return { exit, finished, possible, isAnswered, left, lostOutput, isRight, ms, errors: errors() }
}

/** Counts what is printed, but doesn't begin to read at once. */
async function readSlowly(stdout) {
  stdout.pause()
  await sleep(400)
  let count = 0
  for await (const chunk of stdout) count += chunk.length
  return count
}

/** What should not be there, or should be and is not. */
async function leftOnDisk(dir) {
  const left = ['server.pid', 'uploads', 'state.json.new'].filter((name) => existsSync(join(dir, name)))
  const db = new ClassicLevel(join(dir, 'db'))
  const names = await db.keys().all()
  await db.close()
  if (!names.includes('second')) left.push('no last record')
  const state = join(dir, 'state.json')
  if (!existsSync(state)) left.push('no state.json')
  else if (JSON.parse(readFileSync(state, 'utf8')).uploads !== names.length) left.push('wrong state.json')
  return left
}

function line(name, ours, ...others) {
  return `${name.padEnd(17)}${fill(ours, 39)}${others.map((other) => fill(other, 14)).join('')}`.trimEnd()
}

function showOurs({ finished, possible, isAnswered, left, exit, ms, lostOutput, isRight }) {
  const columns = [
    `${finished}/${possible}`.padEnd(6),
    (isAnswered ? 'stored' : 'lost').padEnd(8),
    (left.length > 0 ? `${left.length} wrong` : 'clean').padEnd(9),
    (lostOutput > 0 ? 'cut output' : String(exit)).padEnd(8),
    ms.toFixed(0).padStart(6),
  ]
  return paint(isRight ? 'green' : 'red', columns.join(''))
}

function showOther({ finished, possible, exit, lostOutput, isRight }) {
  const text = `${isRight ? '✓' : '✗'} ${finished}/${possible} ${exit}${lostOutput > 0 ? ' cut' : ''}`
  return paint(isRight ? 'green' : 'red', text)
}
