// Lets two programs that do the same die in ways that no handler sees, one with exodos, one without; looks from outside at
// what each has left, and prints a table. Ends with code 1 when exodos leaves anything. Linux only: it looks into /proc.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { durable } from 'exodos/durable'
import { tempDir } from 'exodos/temp'

const DEATHS = ['SIGKILL', 'heap out of memory', 'process.abort()', 'SIGSEGV']
const GUARDIAN_TOO = 'guardian killed as well'
const TOO_LONG = 20_000

const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text
const root = tempDir({ prefix: 'exodos-show' }).path

console.log(`A program with a lock, a directory, a child process and a socket dies, on Node ${process.versions.node}\n`)
console.log(paint('bold', `${''.padEnd(25)}${'exodos'.padEnd(24)}without`))
console.log(paint('dim', `${'way'.padEnd(25)}left              ms    left`))
for (const death of DEATHS) {
  const [ours, other] = await Promise.all([die('with-exodos', death), die('without', death)])
  const left = await leftAtLast(ours)
  const ms = performance.now() - ours.since
  // The other one has had as much time by now.
  print(death, left, ms, words(leftBy(other)))
}
const [ours, other] = await Promise.all([die('with-exodos', GUARDIAN_TOO), die('without', GUARDIAN_TOO)])
const [again, otherAgain] = await Promise.all([startAgain(ours), startAgain(other)])
const left = again.started ? leftBy(ours) : ['no next start']
print(`${GUARDIAN_TOO},`)
print('  and the next start', left, again.ms, words(leftBy(other)) + (otherAgain.started ? '' : '; it refuses to start'))
console.log(`
ms: from the death of the program, or from its next start, until nothing is left
The two programs: examples/08-survives-sigkill/with-exodos.mjs and without.mjs`)

function print(way, left, ms, leftByOther) {
  if (!left) return console.log(way)
  if (left.length > 0) process.exitCode = 1
  const columns = `${words(left).padEnd(15)}${ms.toFixed(0).padStart(5)}    `
  console.log(`${way.padEnd(25)}${paint(left.length > 0 ? 'red' : 'green', columns)}${paint('red', leftByOther)}`)
}

function words(left) {
  return left.join(', ') || 'nothing'
}

/** Starts a program, has it die, and tells what it had made, and when it died. */
async function die(file, death) {
  const at = join(root, `${file}-${death.replaceAll(/\W/g, '-')}`)
  mkdirSync(at)
  const { program, made, exited } = await start(file, at)
  if (!made) throw new Error(`${file}.mjs didn't start`)
  if (death === GUARDIAN_TOO) killBoth(program, made.child)
  else if (death === 'SIGKILL') program.kill(death)
  else program.stdin.write(death)
  await exited
  return { file, at, made, since: performance.now() }
}

/** Whether a program can be started after one that died. */
async function startAgain({ file, at }) {
  const began = performance.now()
  const { program, made, exited } = await start(file, at)
  const ms = performance.now() - began
  program.kill('SIGTERM')
  await exited
  return { started: made !== undefined, ms }
}

/** `made` is undefined when it ended at once. */
async function start(file, at) {
  const path = fileURLToPath(new URL(`${file}.mjs`, import.meta.url))
  const program = spawn(process.execPath, ['--max-old-space-size=40', path, at], {
    cwd: at,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { ...process.env, EXODOS_STATE_DIR: join(at, 'state') },
  })
  durable.process(program)
  program.stdin.on('error', () => {})
  const exited = once(program, 'exit')
  const [line] = await Promise.race([once(program.stdout, 'data'), exited.then(() => [])])
  const made = line && JSON.parse(line)
  // The program without exodos leaves it behind: that is up to us.
  if (made) durable.process(made.child)
  return { program, made, exited }
}

/** The guardian is stopped first, so that it can't notice. */
function killBoth(program, child) {
  const children = readFileSync(`/proc/${program.pid}/task/${program.pid}/children`, 'utf8')
  const guardians = (children.match(/\d+/g) ?? []).map(Number).filter((pid) => pid !== child)
  for (const pid of guardians) process.kill(pid, 'SIGSTOP')
  program.kill('SIGKILL')
  for (const pid of guardians) process.kill(pid, 'SIGKILL')
}

async function leftAtLast(dead) {
  while (leftBy(dead).length > 0 && performance.now() - dead.since < TOO_LONG) await sleep(2)
  return leftBy(dead)
}

function leftBy({ at, made }) {
  const isLeft = {
    directory: isThere(made.directory),
    lock: isThere(join(at, 'converter.lock')),
    child: isAlive(made.child),
    socket: isThere(join(at, 'converter.sock')),
  }
  return Object.keys(isLeft).filter((name) => isLeft[name])
}

function isThere(path) {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

function isAlive(pid) {
  try {
    return !/^\d+ \(.*\) [ZX]/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return false
  }
}
