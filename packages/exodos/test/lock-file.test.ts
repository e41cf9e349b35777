import { type ChildProcess, spawn } from 'node:child_process'
import fs, {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Held,
  isStillHeld,
  newToken,
  release,
  removeLock,
  type Taken,
  tryAcquire,
} from '../src/guardian/actions/lock-file.js'
import { runStepsSync } from '../src/guardian/actions/steps.js'
import { isSurelyDead, type Owner, thisOwner } from '../src/guardian/records/owner.js'
import { source } from './support/lock-torture.js?source'
import { node } from './support/program.js'

const SECONDS = Number(process.env.EXODOS_TORTURE_SECONDS ?? 2)
/** Milliseconds, on average: as fast as two cores can start processes. */
const KILL_EVERY = 40
const ROUNDS = Number(process.env.EXODOS_TEST_ROUNDS ?? 100)
const root = new URL(`./.run/${process.env.EXODOS_TEST_SUITE}/`, import.meta.url).pathname

let dir: string
let lock: string
/** By pid. */
let dead: Set<number>
let pid = 1000

beforeEach(() => {
  vi.spyOn(Atomics, 'wait').mockReturnValue('timed-out')
  mkdirSync(root, { recursive: true })
  dir = mkdtempSync(join(root, 'lock-'))
  lock = join(dir, 'app.lock')
  dead = new Set()
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

const someone = (): Owner => ({ ...thisOwner(), pid: ++pid, thread: '' })
const isDead = (owner: Owner): boolean => dead.has(owner.pid)
const acquire = (owner = someone(), token?: string): Held | Taken => tryAcquire(lock, owner, isDead, token)
const remove = (token: string, owner = someone()) => runStepsSync(removeLock({ path: lock, token }, owner, isDead))
const files = (): string[] => (readdirSync(dir, { recursive: true }) as string[]).sort()

function mustAcquire(owner = someone()): Held {
  const result = acquire(owner)
  if (!('token' in result)) throw new Error(`taken by ${result.by?.pid}`)
  return result
}

/** Of somebody else, under another name. */
function someLock(): string {
  const held = tryAcquire(join(dir, 'other.lock'), someone(), isDead)
  return (held as Held).path
}

function replaceWith(text: string): void {
  rmSync(lock)
  writeFileSync(lock, text)
}

describe('a lock', () => {
  test('is one file while it is held, and nothing after', () => {
    const held = mustAcquire()
    expect(files()).toEqual(['app.lock'])
    expect(isStillHeld(held)).toBe(true)
    release(held)
    expect(files()).toEqual([])
    expect(isStillHeld(held)).toBe(false)
    release(held)
  })

  test('is taken as long as its holder may live', () => {
    const holder = someone()
    mustAcquire(holder)
    expect(acquire()).toEqual({ by: holder })
    expect(acquire(holder)).toEqual({ by: holder })
    expect(files()).toEqual(['app.lock'])
  })

  test('of a dead holder goes to the next, who is told nothing of the past', () => {
    const holder = someone()
    const first = mustAcquire(holder)
    dead.add(holder.pid)
    const second = mustAcquire()
    expect(isStillHeld(first)).toBe(false)
    release(first)
    expect(isStillHeld(second)).toBe(true)
    expect(files()).toEqual(['app.lock'])
  })

  test('takes the token that a record names', () => {
    const token = newToken()
    expect(acquire(someone(), token)).toEqual({ path: lock, token })
    expect(acquire(someone(), token)).toEqual({ path: lock, token })
  })

  test.each([
    ['removed', () => rmSync(lock)],
    ['replaced by that of another', () => renameSync(someLock(), lock)],
    ['replaced by something else', () => replaceWith('data')],
  ])('that was %s is not held any more, and not released', (_, intrude) => {
    const held = mustAcquire()
    intrude()
    const before = files()
    expect(isStillHeld(held)).toBe(false)
    release(held)
    expect(files()).toEqual(before)
  })

  test('is known by its absolute path', () => {
    const cwd = process.cwd()
    const held = tryAcquire(`${lock}/../app.lock`, someone(), isDead)
    expect(held).toMatchObject({ path: lock })
    expect(process.cwd()).toBe(cwd)
  })
})

describe('what is no lock is left alone, and named', () => {
  const other = "is not a lock but somebody's file"
  test.each<[string, () => void, string]>([
    ['a file of somebody else', () => writeFileSync(lock, 'data'), other],
    ['an empty file', () => writeFileSync(lock, ''), other],
    ['a huge file', () => writeFileSync(lock, 'x'.repeat(1e6)), other],
    ['a directory', () => mkdirSync(lock), other],
    ['a lock with a path for a token', () => writeFileSync(lock, '{"token":"../../etc","owner":{"pid":1}}'), other],
    ['a damaged lock', () => symlinkSync('{"token":"../../etc","owner":{"pid":1}}', lock), 'is damaged'],
    ['a symbolic link', () => symlinkSync('/etc/passwd', lock), other],
    ['a symbolic link to nowhere', () => symlinkSync(join(dir, 'no'), lock), other],
    ['no directory', () => rmSync(dir, { recursive: true }), 'ENOENT'],
  ])('%s', (_, prepare, message) => {
    prepare()
    const before = existsSync(dir) ? files() : []
    expect(() => acquire()).toThrow(message)
    expect(() => acquire()).toThrow(lock)
    if (existsSync(dir)) expect(files()).toEqual(before)
  })

  test('a damaged heir', () => {
    const holder = someone()
    const { token } = mustAcquire(holder)
    dead.add(holder.pid)
    writeFileSync(`${lock}.${token}.heir`, '')
    expect(() => acquire()).toThrow(`remove ${lock} and ${lock}.${token}.heir`)
  })

  test.each([undefined, 7, '', Buffer.from('x')])('the path %s', (path) => {
    expect(() => tryAcquire(path as string, someone(), isDead)).toThrow('path: expected the path of a file')
  })
})

describe('removing the lock of one that died', () => {
  test.each<[string, (token: string, holder: Owner) => unknown, string[]]>([
    ['who held it', (_, holder) => dead.add(holder.pid), []],
    ['of whom only the caller knows', () => {}, []],
    ['whose lock went to another', (_, holder) => dead.add(holder.pid) && mustAcquire(), ['app.lock']],
    ['whose lock somebody removed', () => rmSync(lock), []],
    ['whose lock somebody replaced', () => replaceWith('data'), ['app.lock']],
  ])('%s', (_, happen, left) => {
    const holder = someone()
    const { token } = mustAcquire(holder)
    happen(token, holder)
    expect(remove(token)).toEqual({ done: true })
    expect(files()).toEqual(left)
    expect(remove(token)).toEqual({ done: true })
  })

  test('or of our own', () => {
    const held = mustAcquire()
    expect(acquire()).toHaveProperty('by')
    expect(remove(held.token, { ...thisOwner(), pid, thread: 'w7' })).toEqual({ done: true })
    expect(files()).toEqual([])
  })

  test('a thread of ours that was ended while it took over is not waited for', () => {
    const holder = someone()
    mustAcquire(holder)
    dead.add(holder.pid)
    const [heir, token] = [someone(), newToken()]
    crashAt(4, () => acquire(heir, token))
    expect(files().some((name) => name.endsWith('.heir'))).toBe(true)
    expect(acquire()).toEqual({ by: heir })
    expect(remove(token, { ...heir, thread: 'w7' })).toEqual({ done: true })
    mustAcquire()
  })
})

/** What the protocol calls. Without `closeSync`, so that nothing stays open in this process. */
const CALLS = [
  'symlinkSync',
  'readlinkSync',
  'renameSync',
  'unlinkSync',
  'readdirSync',
  'openSync',
  'writeFileSync',
  'fdatasyncSync',
  'linkSync',
  'lstatSync',
  'readFileSync',
] as const
/** What happens before the next call, and may be made up of such calls itself. */
let look: (() => void) | undefined
const untouched = Object.fromEntries(CALLS.map((name) => [name, fs[name]])) as Record<string, (...args: unknown[]) => unknown>

beforeAll(() => {
  for (const [name, call] of Object.entries(untouched))
    Object.assign(fs, {
      [name]: (...args: unknown[]) => {
        const now = look
        look = undefined
        try {
          now?.()
        } finally {
          look = now
        }
        // Only slow here.
        return name === 'fdatasyncSync' ? undefined : call(...args)
      },
    })
  syncBuiltinESMExports()
})
afterAll(() => {
  Object.assign(fs, untouched)
  syncBuiltinESMExports()
})

/** Does something before each call of the protocol. */
function between<T>(before: () => void, act: () => T): T {
  const outer = look
  look = before
  try {
    return act()
  } finally {
    look = outer
  }
}

class Crash extends Error {}

/** The n-th call and all later ones are not made, as in a process that was killed. Returns undefined then. */
function crashAt<T>(n: number, act: () => T): T | undefined {
  let calls = 0
  try {
    const result = between(() => {
      if (++calls >= n) throw new Crash()
    }, act)
    return calls >= n ? undefined : result
  } catch (error) {
    if (error instanceof Crash) return undefined
    throw error
  }
}

/** A contender that is killed before its n-th call; false when it came to its end before. */
function killedAt(n: number, act: (owner: Owner, token: string) => unknown): boolean {
  const [owner, token] = [someone(), newToken()]
  if (crashAt(n, () => [act(owner, token)])) return false
  dead.add(owner.pid)
  return true
}

const acts: Record<string, (owner: Owner, token: string) => unknown> = {
  acquire,
  'acquire and release': (owner, token) => {
    const result = acquire(owner, token)
    if ('token' in result) release(result)
  },
  remove: (owner) => remove(lastDead, owner),
}
let lastDead = newToken()

function dieHolding(): void {
  const owner = someone()
  lastDead = mustAcquire(owner).token
  dead.add(owner.pid)
}

const pasts: Record<string, () => void> = {
  'a free lock': () => {},
  'a dead holder': dieHolding,
  'a dead holder and a dead heir': () => {
    dieHolding()
    killedAt(4, acquire)
  },
  'a dead holder and two dead heirs': () => {
    dieHolding()
    killedAt(4, acquire)
    killedAt(6, acquire)
  },
}

/** Whatever happened: there is one lock, it can be had, and nothing is left of the past. */
function expectUsable(): void {
  const held = mustAcquire()
  expect(files()).toEqual(['app.lock'])
  expect(acquire()).toHaveProperty('by')
  release(held)
  expect(files()).toEqual([])
}

describe('a process killed at any call', () => {
  const cases = Object.keys(pasts).flatMap((past) => Object.keys(acts).map((act) => [act, past] as const))
  test.each(cases)('%s, %s: the next has the lock, even if another is killed at any call before', (act, past) => {
    const [begin, first] = [pasts[past] as () => void, acts[act] as (typeof acts)[string]]
    let runs = 0
    for (let n = 1, isKilled = true; isKilled; n++) {
      for (let m = 1, isAnotherKilled = true; isAnotherKilled; m++) {
        begin()
        isKilled = killedAt(n, first)
        if (!isKilled) break
        isAnotherKilled = killedAt(m, acts['acquire and release'] as (typeof acts)[string])
        // Its record is run again: it wasn't done.
        if (act === 'remove') remove(lastDead)
        expectUsable()
        runs++
      }
      rmSync(lock, { force: true })
    }
    expect(runs).toBeGreaterThan(3)
  })
})

describe('a process stopped at any call, while others go on', () => {
  /** What others do meanwhile; those who end up with the lock. */
  const others: Record<string, () => (Held | Taken | undefined)[]> = {
    'one acquires': () => [acquire()],
    'two try': () => [acquire(), acquire()],
    'one comes and goes': () => [void acts['acquire and release']?.(someone(), newToken())],
    'one comes and goes, another acquires': () => [void acts['acquire and release']?.(someone(), newToken()), acquire()],
    'one holds and dies': () => [dieSoon()],
    'one holds and dies, another acquires': () => [dieSoon(), acquire()],
    'two hold and die, another acquires': () => [dieSoon(), dieSoon(), acquire()],
    'the dead one is removed, another acquires': () => [void remove(lastDead), acquire()],
    'the record of another is run, another acquires': () => [void remove(newToken()), acquire()],
  }
  function dieSoon(): undefined {
    const owner = someone()
    const result = acquire(owner)
    dead.add(owner.pid)
    if ('token' in result) lastDead = result.token
  }

  const cases = Object.keys(pasts).flatMap((past) => Object.keys(others).map((name) => [past, name] as const))
  test.each(cases)('%s, %s: one holder at most', (past, name) => {
    for (const act of [acquire, (owner: Owner) => void remove(lastDead, owner)]) {
      for (let n = 1, isStopped = true; isStopped; n++) {
        pasts[past]?.()
        isStopped = false
        let calls = 0
        const results: (Held | Taken | undefined)[] = []
        const stop = () => {
          if (++calls === n) {
            isStopped = true
            results.push(...(others[name]?.() ?? []))
          }
        }
        results.push(between(stop, () => act(someone())) ?? undefined)
        const holders = results.filter((result) => result && 'token' in result) as Held[]
        expect(holders.filter(isStillHeld)).toEqual(holders)
        expect(holders.length).toBeLessThanOrEqual(1)
        for (const held of holders) release(held)
        expectUsable()
      }
    }
  })
})

describe('anybody stopped, killed or sent off at any call, at random', () => {
  test('one holder at most', () => {
    for (let seed = 1; seed <= ROUNDS; seed++) {
      expect.soft(tell(seed), `two holders with seed ${seed}`).toEqual([])
      expectUsable()
    }
  })

  test('with files in place of symbolic links, as on Windows', () => {
    const { platform } = process
    Object.defineProperty(process, 'platform', { value: 'win32' })
    try {
      for (let seed = 1; seed <= ROUNDS; seed++) {
        expect.soft(tell(seed), `two holders with seed ${seed}`).toEqual([])
        release(mustAcquire())
      }
    } finally {
      Object.defineProperty(process, 'platform', { value: platform })
    }
  })
})

/** One contender begins; at any call others may come in between, who may be interrupted in the same way. */
function tell(seed: number): string[] {
  const random = generator(seed)
  const holders = new Set<Held>()
  const records: string[] = []
  const wrong: string[] = []
  let people = 0
  let live = 0
  const someoneComes = (): void => {
    people++
    live++
    const [owner, token] = [someone(), newToken()]
    let isKilled = false
    const risk = random() < 0.5 ? 0.06 : 0
    const act = <T>(work: () => T): T | undefined => {
      try {
        const result = between(() => {
          if (isKilled) throw new Crash()
          while (live < 5 && people < 30 && random() < 0.1) someoneComes()
          isKilled = random() < risk
          if (isKilled) throw new Crash()
        }, work)
        return isKilled ? undefined : result
      } catch (error) {
        if (error instanceof Crash) return undefined
        throw error
      }
    }
    const record = random() < 0.2 ? records.pop() : undefined
    if (record) {
      act(() => hurry(removeLock({ path: lock, token: record }, owner, isDead)))
      if (isKilled) records.push(record)
    } else {
      const result = act(() => acquire(owner, token))
      if (result && 'token' in result) {
        if (holders.size > 0) wrong.push(`${owner.pid} has what another has`)
        holders.add(result)
        while (live < 5 && people < 30 && random() < 0.3) someoneComes()
        if (!isStillHeld(result)) wrong.push(`${owner.pid} has lost it`)
        holders.delete(result)
        if (random() < 0.5) act(() => release(result))
        else isKilled = true
      }
      if (isKilled) records.push(token)
    }
    // Whoever lives on has nothing to do with the lock any more.
    if (isKilled || random() < 0.5) dead.add(owner.pid)
    live--
  }
  while (people < 30) someoneComes()
  for (const token of records) remove(token)
  return wrong
}

/** Without waiting. */
function hurry(steps: Generator<unknown, unknown>): void {
  while (!steps.next().done);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Holders and contenders are killed from outside at random, and kill themselves within the protocol. */
test(`8 processes, killed at random for ${SECONDS} s: never two holders, never stuck`, {
  timeout: SECONDS * 1000 + 30_000,
}, async () => {
  const program = join(dir, 'contender.cjs')
  writeFileSync(program, source)
  const now = () => performance.timeOrigin + performance.now()
  const end = now() + SECONDS * 1000
  const children = new Set<ChildProcess>()
  const ready = new Set<ChildProcess>()
  const wrong: string[] = []
  let kills = 0
  let suicides = 0
  const begin = (): void => {
    const env = { ...process.env, NODE_OPTIONS: '' }
    const child = spawn(node, [program, dir, '0.002'], { stdio: ['ignore', 'pipe', 'inherit'], env })
    children.add(child)
    child.stdout.once('data', () => ready.add(child))
    child.once('exit', (code, signal) => {
      children.delete(child)
      ready.delete(child)
      if (signal !== 'SIGKILL') wrong.push(`ended with ${signal ?? code}`)
      if (!child.killed) suicides++
      if (now() < end) begin()
    })
  }
  for (let i = 0; i < 8; i++) begin()
  const lag = monitorEventLoopDelay({ resolution: 5 })
  lag.enable()
  while (now() < end) {
    await sleep(Math.random() * 2 * KILL_EVERY)
    // Not faster than processes can be started here.
    const victim = ready.size > 4 ? [...ready][Math.floor(Math.random() * ready.size)] : undefined
    if (victim?.kill('SIGKILL')) kills++
  }
  for (const child of children) child.kill('SIGKILL')
  while (children.size > 0) await sleep(5)

  const events = readFileSync(join(dir, 'log'), 'utf8').trim().split('\n')
  const count = (kind: string) => events.filter((event) => event.startsWith(`${kind} `)).length
  const times = events.filter((event) => /^(acquired|takeover) /.test(event)).map((event) => Number(event.split(' ')[1]))
  times.sort((one, other) => one - other)
  const gaps = times.slice(1).map((time, i) => time - (times[i] as number))
  const longestGap = Math.round(Math.max(...gaps))
  const figures = {
    acquisitions: times.length,
    takeovers: count('takeover'),
    removed: count('removed'),
    kills,
    suicides,
    longestGap,
    lag: Math.round(lag.max / 1e6),
  }
  console.log(JSON.stringify({ ...figures, two: count('TWO'), lost: count('LOST') }))
  expect({ two: count('TWO'), lost: count('LOST'), wrong }).toEqual({ two: 0, lost: 0, wrong: [] })
  expect(longestGap).toBeLessThan(500 + 5 * figures.lag)
  expect(figures.takeovers + figures.removed).toBeGreaterThan(0)

  const last = tryAcquire(lock, thisOwner(), isSurelyDead)
  if (!('token' in last)) throw new Error(`stuck: ${JSON.stringify(last.by)}`)
  release(last)
  expect(files().filter((name) => name.startsWith('app.lock'))).toEqual([])
})
