import { type ChildProcess, spawn } from 'node:child_process'
import {
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { PathAction } from '../src/guardian/records/action.js'
import { identityOf } from '../src/guardian/records/identity.js'
import { Journal } from '../src/guardian/records/journal.js'
import { readJournal } from '../src/guardian/records/lines.js'
import { ownerName, thisOwner } from '../src/guardian/records/owner.js'
import { recover } from '../src/guardian/recovery/claim.js'
import { journalsIn } from '../src/guardian/recovery/living.js'
import { seen } from '../src/system/proc.js'
import { node, run, start } from './support/program.js'
import { source } from './support/recovery-torture.js?source'
import { childrenOf } from './support/supervise.js'

const SECONDS = Number(process.env.EXODOS_TORTURE_SECONDS ?? 2)
/** Milliseconds, on average. */
const KILL_EVERY = 40
/** In memory, where there is such a place: a busy disk would be the limit. */
const place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

let dir: string

beforeEach(() => {
  dir = mkdtempSync(join(place, 'recovery-'))
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

/** Processes of a kind, each replaced when it ends. */
class Crowd {
  deaths = 0
  private readonly children = new Set<ChildProcess>()
  private readonly ready = new Set<ChildProcess>()
  private isOver = false

  constructor(
    private readonly args: string[],
    private readonly size: number,
    private readonly wrong: string[],
  ) {
    for (let i = 0; i < size; i++) this.begin()
  }

  private begin(): void {
    const env = { ...process.env, NODE_OPTIONS: '' }
    const child = spawn(node, this.args, { stdio: ['ignore', 'pipe', 'inherit'], env })
    this.children.add(child)
    child.stdout.once('data', () => this.ready.add(child))
    child.once('exit', (code, signal) => {
      this.children.delete(child)
      this.ready.delete(child)
      this.deaths++
      if (signal !== 'SIGKILL') this.wrong.push(`${this.args[1]} ended with ${signal ?? code}`)
      if (!this.isOver) this.begin()
    })
  }

  /** Not faster than processes can be started here. */
  killOne(): void {
    if (this.ready.size > this.size / 2) [...this.ready][Math.floor(Math.random() * this.ready.size)]?.kill('SIGKILL')
  }

  async end(): Promise<void> {
    this.isOver = true
    for (const child of this.children) child.kill('SIGKILL')
    while (this.children.size > 0) await sleep(5)
  }
}

interface Found {
  registered: number
  cancelled: number
  done: number
  double: number
  missed: string[]
  afterCancel: string[]
  whileAlive: string[]
  ofThePast: string[]
}

/** What the log says; the order of its lines is that of the events. */
async function check(log: string): Promise<Found> {
  const last = new Map<string, string>()
  const dead = new Set<string>()
  const found: Found = {
    registered: 0,
    cancelled: 0,
    done: 0,
    double: 0,
    missed: [],
    afterCancel: [],
    whileAlive: [],
    ofThePast: [],
  }
  for await (const line of createInterface({ input: createReadStream(log) })) {
    const [, event = '', name = '', plus] = /^(\w+) ([^+]+)(\+?);$/.exec(line) ?? []
    if (event === '') continue
    const owner = name.slice(0, name.indexOf('.'))
    if (event !== 'done') {
      if (dead.has(owner)) found.whileAlive.push(line)
      if (event === 'registered') found.registered++
      if (event === 'cancelled') found.cancelled++
      last.set(name, event)
      continue
    }
    dead.add(owner)
    found.done++
    const before = last.get(name)
    if (before === 'done') found.double++
    if (before === 'cancelled') found.afterCancel.push(line)
    if (before === 'amended' && !plus) found.ofThePast.push(line)
    last.set(name, 'done')
  }
  for (const [name, event] of last) if (/^(registered|amend)/.test(event)) found.missed.push(name)
  return found
}

test.each([
  ['4 recoverers', 0],
  ['4 recoverers that are killed, too', 0.0005],
])(
  `owners killed at random for ${SECONDS} s, %s: none missed, none after cancel(), none while its owner lives`,
  {
    timeout: SECONDS * 1000 + 120_000,
  },
  async (_, risk) => {
    const program = join(dir, 'torture.cjs')
    writeFileSync(program, source)
    const owners = join(dir, 'state', 'owners')
    mkdirSync(owners, { recursive: true, mode: 0o700 })
    const wrong: string[] = []
    const recoverers = new Crowd([program, 'recoverer', dir, String(risk)], 4, wrong)
    const crowd = new Crowd([program, 'owner', dir], 6, wrong)
    let end = performance.now() + SECONDS * 1000
    let largest = 0
    try {
      while (performance.now() < end) {
        await sleep(Math.random() * 2 * KILL_EVERY)
        crowd.killOne()
        if (risk > 0 && Math.random() < 0.2) recoverers.killOne()
        largest = Math.max(largest, ...sizesIn(owners))
      }
      await crowd.end()
      end += 100_000
      while (readdirSync(owners).length > 0 && performance.now() < end) await sleep(10)
    } finally {
      await Promise.all([crowd.end(), recoverers.end()])
    }

    const { missed, afterCancel, whileAlive, ofThePast, ...counts } = await check(join(dir, 'log'))
    const figures = { ...counts, owners: crowd.deaths, recoverers: recoverers.deaths - 4, largestJournal: largest }
    console.log(JSON.stringify(figures))
    expect({ missed, afterCancel, whileAlive, ofThePast, wrong }).toEqual({
      missed: [],
      afterCancel: [],
      whileAlive: [],
      ofThePast: [],
      wrong: [],
    })
    // Each death leaves one at most that was done and not noted.
    expect(counts.double).toBeLessThanOrEqual(figures.recoverers)
    expect(counts.done).toBeGreaterThan(0)
    expect(readdirSync(owners)).toEqual([])
    expect(existsSync(join(dir, 'state', 'failed'))).toBe(false)
  },
)

/** All of it as users have it: programs and their guardians, and whoever starts next. */
test(`programs killed at random for ${SECONDS} s, half of them with their guardian`, {
  timeout: SECONDS * 1000 + 120_000,
}, async () => {
  const state = join(dir, 'state')
  const work = join(dir, 'work')
  const log = join(dir, 'log')
  mkdirSync(work)
  writeFileSync(log, '')
  const source = (n: number) => `
    import { durable } from 'exodos/durable'
    import { tempDir, tempFile } from 'exodos/temp'
    import { writeFileSync, writeSync } from 'node:fs'
    const say = (words) => ['/bin/sh', '-c', 'echo ' + words + ' >>${log}']
    durable.command(say('${n}'))
    durable.command(say('cancelled')).cancel()
    writeSync(1, 'registered')
    await durable.command(say('run ${n}')).run()
    for (let i = 0; ; i++) {
      const { path } = tempDir({ parent: '${work}' })
      writeFileSync(path + '/file', '')
      const file = tempFile({ parent: '${work}' })
      if (i % 2) await file.remove()
      if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 5))
      if (i > 1000) await new Promise(() => setInterval(() => {}, 1e9))
    }`
  const end = performance.now() + SECONDS * 1000
  const registered: string[] = []
  let guardians = 0
  while (performance.now() < end) {
    const n = registered.length
    const program = start(source(n), { env: { EXODOS_STATE_DIR: state }, timeout: 60_000 })
    await program.until('registered')
    await sleep(Math.random() * 200)
    // Not those that recover for it: what they are doing would be done twice.
    const shells = n % 2 ? childrenOf(program.child.pid as number).filter(isShell) : []
    for (const shell of shells) process.kill(shell, 'SIGSTOP')
    program.kill('SIGKILL')
    await program.ended
    for (const shell of shells) guardians += Number(process.kill(shell, 'SIGKILL'))
    registered.push(`${n}`)
  }
  await run(`import { durable } from 'exodos/durable'; await durable.recover(); process.exit()`, {
    env: { EXODOS_STATE_DIR: state },
    timeout: 60_000,
  })
  const owners = join(state, 'owners')
  for (const last = performance.now() + 30_000; readdirSync(owners).length > 0 && performance.now() < last; ) await sleep(20)
  const done = readFileSync(log, 'utf8').trim().split('\n')
  console.log(JSON.stringify({ programs: registered.length, guardians, done: done.length }))
  expect(done.filter((words) => !words.startsWith('run')).sort()).toEqual(registered.sort())
  expect(readdirSync(work)).toEqual([])
  expect(readdirSync(owners)).toEqual([])
  expect(existsSync(join(state, 'failed'))).toBe(false)
})

function isShell(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('/bin/sh\0')
  } catch {
    return false
  }
}

/** Numbers from 0 to 1, the same for the same seed (Park and Miller). */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 48_271) % 0x7fffffff
    return state / 0x7fffffff
  }
}

const removal = (name: string): PathAction => ({ kind: 'path', path: join(dir, name), tree: false, unique: true })

test.each([1, 2, 3])(
  'whatever is added, amended and removed: a journal holds what is open, and is not long (seed %s)',
  (seed) => {
    const random = generator(seed)
    const path = join(dir, 'a.journal')
    const journal = new Journal(path)
    const open = new Map<number, string>()
    let longest = 0
    let rewritten = 0
    let last = 0
    for (let n = 0; n < 8000; n++) {
      const name = `${n}`.padEnd(500, 'x')
      const ids = [...open.keys()]
      const id = ids[Math.floor(random() * ids.length)]
      // Many, then few, then many.
      const share = Math.floor(n / 2000) % 2 === 0 ? 0.7 : 0.3
      if (id === undefined || random() < share) open.set(journal.add(removal(name)), name)
      else if (random() < 0.2) {
        journal.amend(id, removal(name))
        open.set(id, name)
      } else {
        journal.remove(id)
        open.delete(id)
      }
      const { size } = statSync(path)
      if (size < last) rewritten++
      last = size
      longest = Math.max(longest, size)
      if (n % 1000 === 0) expectOpen()
    }
    expectOpen()
    expect(rewritten).toBeGreaterThan(0)
    expect(longest).toBeLessThan(2 << 20)
    for (const id of open.keys()) journal.remove(id)
    expect(statSync(path).size).toBe(0)

    function expectOpen(): void {
      const found = readJournal(path).map(({ id, action }) => [id, (action as PathAction).path])
      expect(found).toEqual([...open].map(([id, name]) => [id, join(dir, name)]))
      expect(journal.count).toBe(open.size)
    }
  },
)

test('an owner that was killed while it rewrote its journal is recovered from the old one', async () => {
  const owner = join(dir, 'owners', ownerName({ ...thisOwner(), pid: 9_999_999, start: '5', thread: '' }))
  mkdirSync(owner, { recursive: true, mode: 0o700 })
  const journal = new Journal(join(owner, 'a.journal'))
  for (const name of ['one', 'two']) writeFileSync(join(dir, name), '')
  journal.add(removal('one'))
  journal.add(removal('two'))
  writeFileSync(join(owner, 'a.journal.new'), '{"id":1,"at":1,"do":{"kind":"path","pa', { mode: 0o600 })
  expect((await recover(dir)).done).toEqual([removal('two'), removal('one')])
  expect(readdirSync(dir)).toEqual(['owners'])
  expect(readdirSync(join(dir, 'owners'))).toEqual([])
})

const MANY = 100_000
test(`${MANY} records of a dead owner, beside as many of one that lives`, { timeout: 300_000 }, async () => {
  const add = (pid: number, name: string) => {
    const owner = join(dir, 'owners', ownerName({ ...thisOwner(), pid, start: seen(pid)?.startTime ?? '5', thread: '' }))
    mkdirSync(owner, { recursive: true, mode: 0o700 })
    const journal = new Journal(join(owner, 'a.journal'))
    for (let n = 0; n < MANY; n++) {
      const path = join(dir, `${name}-${n}`)
      if (n % 100 === 0) writeFileSync(path, '')
      const identity = identityOf(path)
      journal.add({ kind: 'path', path, tree: false, ...(identity && { identity }) })
    }
  }
  const began = performance.now()
  add(process.pid, 'living')
  add(9_999_999, 'dead')
  const added = performance.now()
  const { done, left, failed } = await recover(dir)
  console.log(`${2 * MANY} added: ${Math.round(added - began)} ms; ${MANY} done: ${Math.round(performance.now() - added)} ms`)
  expect([done.length, left, failed]).toEqual([MANY, [], []])
  expect(readdirSync(dir).filter((name) => name.startsWith('dead'))).toEqual([])
  expect(readdirSync(dir).filter((name) => name.startsWith('living'))).toHaveLength(MANY / 100)
})

/** Each of several threads, and two copies of exodos in each, have records when all of them are killed. */
test('threads, and copies of exodos in a thread, that are killed together', async () => {
  const state = join(dir, 'state')
  const program = start(
    `import { isMainThread, Worker } from 'node:worker_threads'
     import { cpSync, writeSync } from 'node:fs'
     import { createRequire } from 'node:module'
     import { dirname } from 'node:path'
     import { pathToFileURL } from 'node:url'
     const copy = ${JSON.stringify(join(dir, 'copy'))}
     if (isMainThread) cpSync(dirname(createRequire(import.meta.url).resolve('exodos/temp')), copy, { recursive: true })
     for (const from of ['exodos/temp', pathToFileURL(copy + '/temp.js')]) {
       const { tempDir, tempFile } = await import(from)
       for (let i = 0; i < 50; i++) (i % 2 ? tempDir : tempFile)({ prefix: 'made', parent: ${JSON.stringify(dir)} })
     }
     if (isMainThread) for (let i = 0; i < 3; i++) new Worker(new URL(import.meta.url))
     writeSync(1, '.')
     setInterval(() => {}, 1e9)`,
    { env: { EXODOS_STATE_DIR: state } },
  )
  await program.until('....')
  const made = () => readdirSync(dir).filter((name) => name.startsWith('made')).length
  expect(made()).toBe(400)
  // Copies in a thread share a journal.
  expect(sizesIn(join(state, 'owners'))).toHaveLength(4)
  program.kill('SIGKILL')
  await program.ended
  const end = performance.now() + 20_000
  while ((made() > 0 || readdirSync(join(state, 'owners')).length > 0) && performance.now() < end) await sleep(10)
  expect([made(), readdirSync(join(state, 'owners'))]).toEqual([0, []])
})

/** Of all journals that are there just now. */
function sizesIn(owners: string): number[] {
  return readdirSync(owners).flatMap((owner) =>
    journalsIn(join(owners, owner)).map((path) => statSync(path, { throwIfNoEntry: false })?.size ?? 0),
  )
}
