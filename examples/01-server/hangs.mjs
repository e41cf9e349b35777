// The same four servers, each kept from leaving: what names the place, frees it, kills it, or hangs until somebody
// kills it from outside. exodos comes twice: under `exodos run`, and alone. Ends with code 1 when exodos falls short.
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { fill, finishedCleanups, inTurns, kill, paint, startRegistry, startServer } from './from-outside.mjs'
import { hangs } from './ways-out.mjs'

const EXODOS_RUN = [process.execPath, fileURLToPath(new URL('../../packages/exodos/bin/exodos.js', import.meta.url)), 'run', '--']
const PEERS = ['process-on-exit', 'signal-exit', 'exit-hook']
const GRACE = 2000
/** What is still there after this hangs. What waits for something is given longer, and exodos for its ladder. */
const TOO_LONG = 3000
const LONGER = 7000

const asInit = findInit()
const registry = await startRegistry()

console.log(`The same servers, kept from leaving in ${hangs.length} ways; exodos is given a grace period of ${GRACE / 1000} s\n`)
console.log(paint('bold', line('', 'exodos run', 'exodos alone', "on('exit')", 'signal-exit', 'exit-hook')))
console.log(paint('dim', 'what hangs          named              then    done  upload  exit        s'))

const possible = hangs.filter((way) => !way.asInit || asInit)
const cells = possible.flatMap((way) => ['exodos run', 'exodos', ...PEERS].map((variant) => ({ way, variant })))
const onlyBurns = ({ way, variant }) => PEERS.includes(variant) || (variant === 'exodos' && way.alone.startsWith('hung'))
// First what says where it hangs, which takes a part of a processor; then the others, many of which only burn one.
const measured = cells.filter((cell) => !onlyBurns(cell))
tryAll(3, measured)
await Promise.all(measured.map(({ outcome }) => outcome))
tryAll(8, cells.filter(onlyBurns))

const shortfalls = []
for (const way of possible) {
  const row = cells.filter((cell) => cell.way === way).map(({ outcome }) => outcome)
  const [under, alone, ...peers] = await Promise.all(row)
  const isUnderRight =
    `${under.how} ${under.cleanups} ${under.exit}` === way.under && under.isStored && (!way.named || under.named)
  if (!isUnderRight) shortfalls.push({ way, expected: way.under, outcome: under })
  if (showOther(alone) !== way.alone) shortfalls.push({ way, expected: way.alone, outcome: alone })
  const others = [alone, ...peers].map((seen) => paint(seen.how === 'hung' || seen.isLost ? 'red' : 'green', showOther(seen)))
  console.log(line(way.name, paint(isUnderRight ? 'green' : 'red', showUnder(under)), ...others))
}
for (const { name } of hangs.filter((way) => !possible.includes(way))) console.log(line(name, 'not permitted here'))
console.log(`
named: what hangs was told on stderr, with its place where it has one; numbers: cleanups that finished
freed: what spins was ended and the server left in good order; killed: by exodos, after the grace period
ended: by itself; hung: still there after ${TOO_LONG / 1000} s or more, and killed from outside
What spins in a cleanup or a listener isn't freed: what comes after it is lost.
exodos alone is without \`exodos run\`: nobody sees that a signal waits while a handler spins.`)

registry.stop()
for (const { way, expected, outcome } of shortfalls) {
  const { errors, ...seen } = outcome
  console.error(`\n${way.name}: expected ${expected}, saw`, seen, `\n${errors}`)
}
if (shortfalls.length > 0) process.exitCode = 1

function tryAll(atATime, cells) {
  const inTurn = inTurns(atATime)
  for (const cell of cells) cell.outcome = inTurn(() => tryToLeave(cell))
}

/** Starts a server, makes it leave while an upload is under way, and tells how it ended, and what it said. */
async function tryToLeave({ way, variant }) {
  const isUnder = variant === 'exodos run'
  const { server, dir, closed, errors, upload, leave } = await startServer(isUnder ? 'exodos' : variant, way, registry, {
    before: [...(way.asInit ? asInit : []), ...(isUnder ? EXODOS_RUN : [])],
    env: { EXODOS_GRACE: `${GRACE}ms` },
  })
  const spins = way.inside && once(server.stdout, 'data')
  if (way.inside) leave()
  if (way.inside && way.signal) await spins
  const began = performance.now()
  if (way.signal) process.kill(way.asInit ? childOf(server) : server.pid, way.signal)
  let isHung = false
  // The client is slow; a server that doesn't wait for it loses its upload.
  const late = setTimeout(upload.finish, 200)
  const tooLate = setTimeout(
    () => {
      isHung = kill(server)
    },
    way.registry || !onlyBurns({ way, variant }) ? LONGER : TOO_LONG,
  )
  const [code, signal] = await closed
  const seconds = (performance.now() - began) / 1000
  clearTimeout(late)
  clearTimeout(tooLate)
  upload.cancel()

  const { finished, possible } = finishedCleanups(dir, way)
  const isKilled = signal === 'SIGKILL'
  const how = isHung ? 'hung' : isKilled ? 'killed' : /it was freed/.test(errors()) ? 'freed' : 'ended'
  const named = way.named?.exec(errors())?.[1]
  const isStored = await upload.answered
  const isLost = !isStored || finished < possible
  return { how, named, cleanups: `${finished}/${possible}`, isStored, isLost, exit: signal ?? code, seconds, errors: errors() }
}

/** How a program becomes PID 1 here; undefined where that isn't permitted. */
function findInit() {
  const command = ['unshare', '--pid', '--fork', '--mount-proc']
  return [command, [...command, '--map-root-user']].find(
    ([name, ...options]) => spawnSync(name, [...options, 'true']).status === 0,
  )
}

/** `unshare` is a signal's wrong address: it waits for the PID 1 that it has started. */
function childOf({ pid }) {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
}

function line(name, under = '', alone = '', ...peers) {
  return `${name.padEnd(20)}${fill(under, 57)}${fill(alone, 18)}${peers.map((peer) => fill(peer, 13)).join('')}`.trimEnd()
}

function showUnder({ how, named = '–', cleanups, isStored, exit, seconds }) {
  const columns = [
    named.padEnd(19),
    how.padEnd(8),
    cleanups.padEnd(6),
    (isStored ? 'stored' : 'lost').padEnd(8),
    String(exit).padEnd(8),
    seconds.toFixed(1).padStart(5),
  ]
  return columns.join('')
}

function showOther({ how, named, cleanups }) {
  return `${how} ${cleanups}${named ? ' named' : ''}`
}
