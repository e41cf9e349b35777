/*
 * An owner, or a recoverer, of many. Bundled, see recovery.test.ts. Arguments: owner | recoverer, directory, probability of
 * SIGKILL after each system call that a recoverer makes.
 *
 * What is to be removed is never there: the recoverer's `unlink` of it is a line in the log. So each effect is seen, a second
 * one too, at the cost of a write. The log is one file that all append to: the order of its lines is the order of events.
 */
import fs from 'node:fs'
import { isMainThread, Worker } from 'node:worker_threads'
import { Journal } from '../../src/guardian/records/journal.js'
import { ownerName, thisOwner } from '../../src/guardian/records/owner.js'
import { recoverDead } from '../../src/guardian/recovery/claim.js'

const [, , role, dir = '', risk = '0'] = process.argv
const state = `${dir}/state`
/** Long, so that journals grow beyond what is rewritten. */
const effects = `${dir}/${'effects'.padEnd(100, '-')}/`
const log = fs.openSync(`${dir}/log`, 'a', 0o600)
const pauser = new Int32Array(new SharedArrayBuffer(4))
const pause = (ms: number) => Atomics.wait(pauser, 0, 0, ms)

/** A line that lacks its end was being written when its writer was killed. */
const say = (event: string, what: string): void => void fs.writeSync(log, `\n${event} ${what};`)

/** Registers, amends and cancels until it is killed: `~` marks what isn't so any more before it is written down. */
function own(): void {
  const { pid, start, thread } = thisOwner()
  const owners = `${state}/owners/${ownerName(thisOwner())}`
  fs.mkdirSync(owners, { recursive: true, mode: 0o700 })
  // As several copies of exodos in a thread.
  const emptied = (journal: Journal) => void (Math.random() < 0.5 && journal.empty())
  const journals = Array.from(
    { length: 1 + Math.floor(Math.random() * 3) },
    (_, i) => new Journal(`${owners}/${i}.journal`, 'process', emptied),
  )
  const most = 10 ** (1 + Math.random() * 2.5)
  const live: { journal: Journal; id: number; name: string }[] = []
  const pathAction = (name: string) => ({ kind: 'path', path: effects + name, tree: false, unique: true }) as const
  for (let n = 0; ; n++) {
    const dice = Math.random()
    const at = Math.floor(Math.random() * live.length)
    const one = live[at]
    if (!one || (dice < 0.5 && live.length < most)) {
      const name = `${pid}-${start}-${thread}.${n}`
      const journal = journals[n % journals.length] as Journal
      live.push({ journal, id: journal.add(pathAction(name)), name })
      say('registered', name)
    } else if (dice < 0.55) {
      say('amending', one.name)
      one.journal.amend(one.id, pathAction(`${one.name}+`))
      say('amended', one.name)
    } else {
      say('cancelling', one.name)
      one.journal.remove(one.id)
      say('cancelled', one.name)
      live[at] = live.at(-1) as (typeof live)[number]
      live.pop()
    }
    if (Math.random() < 0.002) pause(Math.random() * 10)
  }
}

/** Kills itself where it would rarely be hit from outside. */
function beRisky(): void {
  const calls = fs as unknown as Record<string, (...args: unknown[]) => unknown>
  for (const name of ['renameSync', 'unlinkSync', 'rmdirSync', 'writeSync', 'readFileSync', 'mkdirSync']) {
    const call = calls[name] as (...args: unknown[]) => unknown
    calls[name] = (...args) => {
      const result = call(...args)
      if (Math.random() < Number(risk)) process.kill(process.pid, 'SIGKILL')
      return result
    }
  }
}

async function recover(): Promise<never> {
  const { unlinkSync } = fs
  fs.unlinkSync = (path) => {
    if (String(path).startsWith(effects)) say('done', String(path).slice(effects.length))
    else unlinkSync(path)
  }
  beRisky()
  fs.writeSync(1, 'ready')
  for (;;) {
    await recoverDead(state)
    pause(Math.random() * 5)
  }
}

if (role === 'recoverer') void recover()
else {
  if (isMainThread) {
    fs.writeSync(1, 'ready')
    // A thread that is ended while the process goes on has died, too.
    const begin = () => {
      const worker = new Worker(__filename, { argv: process.argv.slice(2) })
      worker.once('exit', begin)
      worker.once('online', () => setTimeout(() => worker.terminate(), Math.random() * 200))
    }
    if (Math.random() < 0.5) begin()
    // Its own loop must turn for that.
    else own()
  } else own()
}
