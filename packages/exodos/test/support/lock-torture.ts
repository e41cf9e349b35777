/*
 * One of many processes that contend for a lock. Bundled, see lock-file.test.ts. Arguments: directory, probability of SIGKILL after
 * each system call of the protocol.
 */
import fs from 'node:fs'
import { isStillHeld, newToken, release, removeLock, tryAcquire } from '../../src/guardian/actions/lock-file.js'
import { runStepsSync } from '../../src/guardian/actions/steps.js'
import { isSurelyDead, type Owner, thisOwner } from '../../src/guardian/records/owner.js'

const [, , dir = '', risk = '0'] = process.argv
const lock = `${dir}/app.lock`
/** A symbolic link, so that it is made together with what it says. */
const holder = `${dir}/holder`
const log = fs.openSync(`${dir}/log`, 'a', 0o600)
const me = thisOwner()
const pauser = new Int32Array(new SharedArrayBuffer(4))

const say = (event: string, detail: number | string = ''): void => {
  fs.writeSync(log, `${event} ${performance.timeOrigin + performance.now()} ${process.pid} ${detail}\n`)
}

/** It kills itself where it would rarely be hit from outside. */
let isRisky = false
type Call = (...args: unknown[]) => unknown
const calls = fs as unknown as Record<string, Call>
for (const name of Object.keys(calls).filter((key) => /^(symlink|readlink|rename|unlink|readdir)Sync$/.test(key))) {
  const call = calls[name] as Call
  calls[name] = (...args) => {
    const result = call(...args)
    if (isRisky && Math.random() < Number(risk)) process.kill(process.pid, 'SIGKILL')
    return result
  }
}

function risky<T>(act: () => T): T {
  isRisky = true
  try {
    return act()
  } finally {
    isRisky = false
  }
}

/** Two of these at a time are what must never be. */
function beTheOnlyHolder(): void {
  try {
    fs.symlinkSync(JSON.stringify(me), holder)
  } catch {
    const other = JSON.parse(fs.readlinkSync(holder)) as Owner
    if (!isSurelyDead(other, dir)) say('TWO', other.pid)
    // It was killed while it held the lock.
    fs.unlinkSync(holder)
    fs.symlinkSync(JSON.stringify(me), holder)
  }
}

/** As the one that runs the records of the dead. */
function removeOfDead(): void {
  let held: { token: string; owner: Owner }
  try {
    held = JSON.parse(fs.readlinkSync(lock))
  } catch {
    return
  }
  if (!isSurelyDead(held.owner, dir)) return
  const outcome = risky(() => runStepsSync(removeLock({ path: lock, token: held.token })))
  say('done' in outcome ? 'removed' : 'left')
}

fs.writeSync(1, 'ready')
for (;;) {
  if (Math.random() < 0.2) removeOfDead()
  let deaths = 0
  const token = newToken()
  const result = risky(() => tryAcquire(lock, me, (owner) => isSurelyDead(owner, dir) && ++deaths > 0, token))
  if ('token' in result) {
    beTheOnlyHolder()
    say(deaths > 0 ? 'takeover' : 'acquired')
    Atomics.wait(pauser, 0, 0, Math.random() * 5)
    if (!isStillHeld(result)) say('LOST')
    if (Math.random() < 0.02) process.kill(process.pid, 'SIGKILL')
    fs.unlinkSync(holder)
    risky(() => release(result))
  }
  Atomics.wait(pauser, 0, 0, 1 + Math.random() * 3)
}
