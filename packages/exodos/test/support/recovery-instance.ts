/*
 * Programs with a fixed path, as a pid file, that are killed and started anew at once, while others recover what the last one
 * has left behind. Bundled, see attacks.test.ts. Arguments: instances | recoverer, directory, milliseconds, probability that a recoverer
 * is killed with a path in its hands.
 */
import fs from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { identityOf } from '../../src/guardian/records/identity.js'
import { Journal } from '../../src/guardian/records/journal.js'
import { ownerName, thisOwner } from '../../src/guardian/records/owner.js'
import { recoverDead } from '../../src/guardian/recovery/claim.js'

const [, , role, dir = '', time = '0', risk = '0'] = process.argv
const state = `${dir}/state`
const file = `${dir}/files/app.pid`
const pauser = new Int32Array(new SharedArrayBuffer(4))
const end = performance.now() + Number(time)

function readOwn(): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8')
  } catch {
    return undefined
  }
}

/** Threads at a time. */
const READY = 4

/** An instance, in a thread of its own, since threads can wait for their turn. What it was like when it ended. */
function live(n: number): string {
  const owner = `${state}/owners/${ownerName(thisOwner())}`
  fs.mkdirSync(owner, { recursive: true, mode: 0o700 })
  const journal = new Journal(`${owner}/a.journal`)
  const action = () => ({ kind: 'path', path: file, tree: false, identity: identityOf(file) }) as const
  const text = `${n}`
  // At the moment in which the last one can be known to have died, or a little later.
  for (let now = Atomics.load(turn, 0); now !== n; now = Atomics.load(turn, 0)) Atomics.wait(turn, 0, now)
  while (fs.existsSync(`/proc/self/task/${turn[1]}`));
  for (const until = performance.now() + Math.random(); performance.now() < until; );

  const id = journal.add(action())
  // Some programs replace the file of the last one, some write into it.
  if (n % 2 === 0) fs.rmSync(file, { force: true })
  fs.writeFileSync(file, text)
  if (Math.random() < 0.7) journal.amend(id, action())
  let gaps = 0
  for (const until = performance.now() + Math.random() * 5; performance.now() < until; ) {
    // It may be out of its place for the moment in which somebody looks at it: then it comes back.
    const patience = performance.now() + 5000
    if (readOwn() === text) continue
    gaps++
    while (readOwn() !== text) if (performance.now() > patience) return `lost: ${readOwn()}`
  }
  return gaps > 0 ? 'out of place for a moment' : 'fine'
}

/** One lives, the others wait for their turn. */
function begin(n: number, shared: SharedArrayBuffer): void {
  if (performance.now() > end) return
  const worker = new Worker(__filename, { argv: process.argv.slice(2), workerData: { n, shared } })
  worker.once('message', (words) => {
    seen[words] = (seen[words] ?? 0) + 1
  })
  worker.once('exit', () => begin(n + READY, shared))
}

async function recover(): Promise<never> {
  const { renameSync } = fs
  fs.renameSync = (from, to) => {
    renameSync(from, to)
    if (String(from) === file && Math.random() < Number(risk)) process.kill(process.pid, 'SIGKILL')
  }
  for (;;) {
    await recoverDead(state)
    Atomics.wait(pauser, 0, 0, Math.random() * 2)
  }
}

const seen: Record<string, number> = {}
const turn = new Int32Array(workerData?.shared ?? new SharedArrayBuffer(8))

if (role === 'recoverer') void recover()
else if (isMainThread) {
  for (let n = 0; n < READY; n++) begin(n, turn.buffer as SharedArrayBuffer)
  process.once('exit', () => fs.writeSync(1, JSON.stringify(seen)))
} else {
  parentPort?.postMessage(live(workerData.n))
  turn[1] = Number(/^\d+/.exec(thisOwner().thread))
  Atomics.store(turn, 0, workerData.n + 1)
  Atomics.notify(turn, 0)
}
