import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import {
  begin,
  failed,
  guardianOf,
  helpersOf,
  imports,
  isOver,
  journals,
  kill,
  makePlace,
  type Owner,
  owners,
  type Place,
  until,
  untilClean,
  wait,
} from './support/deaths.js'
import { type Ended, node, nodeMajor, type ProgramOptions, run, start } from './support/program.js'
import { asInit, canUnshare, isAlive, main } from './support/supervise.js'

// They wait more than they work.
vi.setConfig({ maxConcurrency: 3 })

const head = `${imports}
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { closeOnExit, exit, explain, runExitHooks, scope } from 'exodos'
const { EXODOS_STATE_DIR: state } = process.env
const isThere = (path) => fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined
const until = async (condition) => { while (!condition()) await sleep(5) }
const die = () => { process.kill(process.pid, 'SIGKILL'); hold() }
const note = (word, then = '') => ['/bin/sh', '-c', 'echo ' + word + ' >>"$0"' + then, log]
const inWorker = (source, options) => new Worker(head + source, { eval: true, ...options })
const untilMessage = async (worker) => (await once(worker, 'message'))[0]
const children = () => fs.readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8').split(' ').filter(Boolean).map(Number)
const isZombie = (pid) => { try { return / Z /.test(fs.readFileSync('/proc/' + pid + '/stat', 'utf8')) } catch { return false } }
`
/** The same once more for workers, whose source is CommonJS. */
const prelude = `${head}
const head = \`
const { once } = require('node:events')
const fs = require('node:fs')
const { Worker, parentPort } = require('node:worker_threads')
const say = (text) => fs.writeSync(1, text + '\\\\n')
const hold = () => setTimeout(() => {}, 60_000)
const [place, work, state] = \${JSON.stringify([place, work, state])}
const faces = Promise.all([import('\${import.meta.resolve('exodos/temp')}'), import('\${import.meta.resolve('exodos/durable')}')])
\`
`

const SLOW = { timeout: 60_000 }

/** What a program prints, that ends by itself and has nothing to complain of. */
async function said(place: Place, source: string, options: ProgramOptions = {}): Promise<Ended> {
  const ended = await run(prelude + source, { timeout: 60_000, ...options, env: { ...place.env, ...options.env } })
  expect({ code: ended.code, stderr: ended.stderr }).toEqual({ code: 0, stderr: '' })
  return ended
}

/** A program that is killed as soon as it is ready, with whoever looks after it. */
async function killWithGuardian(source: string, place = makePlace()): Promise<Owner> {
  const owner = await begin(prelude + source + wait, {}, place)
  const guardian = await guardianOf(place, owner.pid)
  kill(guardian, 'SIGSTOP')
  owner.program.kill('SIGKILL')
  await owner.program.ended
  kill(guardian)
  return owner
}

const lines = ({ dir }: Place) => (existsSync(join(dir, 'log')) ? readFileSync(join(dir, 'log'), 'utf8').trim().split('\n') : [])

describe.concurrent('a file of the user’s called lease stays', () => {
  const listens = "until(() => fs.readdirSync(state + '/owners').some((owner) => isThere(state + '/owners/' + owner + '/lease')))"
  // Descriptors of a directory with such a file, where that of the owner's directory might have been.
  const opens = `
    fs.mkdirSync(place + '/mine')
    fs.writeFileSync(place + '/mine/lease', 'data')
    for (let i = 0; i < 30; i++) fs.openSync(place + '/mine', fs.constants.O_RDONLY)`
  const inWorker = (end: string) => `
    const worker = inWorker(\`
      const isThere = fs.existsSync
      const until = async (condition) => { while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5)) }
      faces.then(async ([{ tempDir }]) => {
        tempDir({ parent: work })
        await \${${JSON.stringify(listens)}}
        \${${JSON.stringify(opens)}}
        parentPort.postMessage('')
        \${${JSON.stringify(end)}}
      })\`, { trackUnmanagedFds: false })
    // Node may tell of both in one turn of the loop.
    const ended = once(worker, 'exit')
    await once(worker, 'message')
    worker.terminate()
    await ended`
  test.each([
    ['natural end', ''],
    ['process.exit', 'process.exit()'],
    ['exit of exodos', 'exit()'],
  ])('%s', async (_, end) => {
    const place = makePlace()
    await said(place, `tempDir({ parent: work }); await ${listens}; ${opens}; ${end}`)
    expect(readdirSync(join(place.dir, 'mine'))).toEqual(['lease'])
  })
  test.each([
    ['terminate()', 'hold()'],
    ['process.exit', 'process.exit()'],
  ])('of a worker: %s', async (_, end) => {
    const place = makePlace()
    await said(place, inWorker(end))
    expect(readdirSync(join(place.dir, 'mine'))).toEqual(['lease'])
  })
})

describe.concurrent('kept is kept', () => {
  const blocks: Record<string, string> = {
    'await using': 'it.keep(); await it[Symbol.asyncDispose]()',
    using: 'it.keep(); it[Symbol.dispose]()',
    'a scope': 'const job = scope(); job.use(it); it.keep(); await job.disposeAsync()',
    'a scope at exit': "scope({ name: 'job' }).use(it); it.keep()",
    closeOnExit: 'closeOnExit(it); it.keep()',
  }
  test.each(Object.entries(blocks))('%s', async (_, block) => {
    const place = makePlace()
    await said(place, `for (const it of [tempDir({ parent: work }), tempFile({ parent: work })]) { ${block} }`)
    expect(readdirSync(place.work)).toHaveLength(2)
  })

  test('with the option keep', async () => {
    const place = makePlace()
    await said(
      place,
      `
      await tempDir({ parent: work, keep: true })[Symbol.asyncDispose]()
      tempFile({ parent: work, keep: true })[Symbol.dispose]()`,
    )
    expect(readdirSync(place.work)).toHaveLength(2)
  })
})

describe.concurrent('a lock while the exit hooks run', () => {
  const waits = `
    const file = place + '/lock'
    await lockFile(file)
    const waiting = lockFile(file, { wait: Infinity }).then((lock) => 'held ' + lock.isHeld())
    await sleep(20);`

  test('somebody waits for it: he is told, and nobody has it: runExitHooks', async () => {
    const { lines: told } = await said(
      makePlace(),
      `${waits}
      await runExitHooks()
      say(await waiting.catch(({ code }) => code) + ' ' + isThere(file))
      say((await lockFile(file)).isHeld())`,
    )
    expect(told).toEqual(['ERR_EXODOS_CLOSED false', 'true'])
  })

  test.each([
    ['exit', 'exit()'],
    ['SIGTERM', "process.kill(process.pid, 'SIGTERM'); hold()"],
  ])('somebody waits for it: nobody has it, and nothing fails: %s', async (_, end) => {
    const place = makePlace()
    const source = `${prelude}${waits} onExit(async () => { await sleep(300); say(isThere(file)) }, { phase: 'flush' }); ${end}`
    expect(await run(source, { env: place.env })).toMatchObject({ stdout: 'false\n', stderr: '' })
    expect(existsSync(join(place.dir, 'lock'))).toBe(false)
  })

  test.each([
    ['runExitHooks', 'await runExitHooks(); await sleep(1200)'],
    ['exit', "onExit(() => sleep(1200), { phase: 'flush' }); exit()"],
  ])('given back by them: nobody is told that it is compromised: %s', async (_, act) => {
    const ended = await said(makePlace(), `await lockFile(place + '/lock', { onCompromised: () => say('compromised') }); ${act}`)
    expect(ended.lines).toEqual([])
  })
})

test.concurrent(
  'a tree of a dead owner with something in it that one who lives has recorded: kept, and done when that one has ended',
  SLOW,
  async () => {
    const place = makePlace()
    const cache = join(place.work, 'cache')
    mkdirSync(cache)
    writeFileSync(join(cache, 'old'), '')
    const living = await begin(`${prelude} tempFile({ parent: work + '/cache', prefix: 'mine' }); ${wait}`, {}, place)
    await run(`${prelude} durable.path(work + '/cache', { tree: true }); die()`, { env: place.env })
    await until('it is kept', () => failed(place).length === 1)
    expect(readdirSync(cache)).toEqual([expect.stringMatching(/^mine-/), 'old'])
    living.program.kill('SIGKILL')
    await living.program.ended
    await until('the file of the other is gone', () => readdirSync(cache).length === 1)
    await said(place, 'await durable.recover()')
    expect(readdirSync(place.work)).toEqual([])
    expect(failed(place)).toEqual([])
  },
)

describe.concurrent('recorded by two who live: the first to end leaves it to the other', () => {
  const things = {
    path: "const it = durable.path(work + '/it')",
    socket: "const it = durable.socket(work + '/it')",
  }
  const make = {
    path: "fs.writeFileSync(work + '/it', ''); it.made()",
    socket: "await once(createServer().listen(work + '/it').unref(), 'listening'); it.made()",
  }
  const ways = ['', 'process.exit()', 'await it.run()', 'it.runSync()', 'await exit()']
  test.each((['path', 'socket'] as const).flatMap((kind) => ways.map((way) => [kind, way] as const)))(
    '%s %s',
    async (kind, way) => {
      const living = await begin(`${prelude} ${things[kind]}; ${make[kind]}; ${wait}`)
      await said(living.place, `${things[kind]}; ${way}`)
      expect(readdirSync(living.place.work)).toEqual(['it'])
      living.program.kill('SIGKILL')
      await untilClean(living, [])
    },
  )
})

test.concurrent('a record that kills whoever does it does not keep the others from being done', SLOW, async () => {
  const place = makePlace()
  await run(
    `${prelude} tempDir({ parent: work }); durable.path(work + '/file'); fs.writeFileSync(work + '/file', '')
    durable.command(note('tried', '; kill -9 $PPID')); die()`,
    { env: place.env },
  )
  await until('the others are done', () => readdirSync(place.work).length === 0)
  await until('the guardian gives up', () => helpersOf(place).length === 0)
  expect(journals(place)).not.toBe('')
  // Those that died over it count: sooner or later programs don't try any more.
  for (let tries = 0, before = -1; tries !== before; ) {
    before = tries
    await said(place, 'tempDir({ parent: work })')
    await until('nobody is at it', () => helpersOf(place).length === 0)
    tries = lines(place).length
    expect(tries).toBeLessThanOrEqual(12)
  }
})

describe.concurrent('durable.call', () => {
  const calls: Record<string, string> = {
    'of a package without a file for require': "{ module: 'only', cwd: place }",
    'that leaves a timer open': "{ module: 'only', export: 'lingering', cwd: place }",
    'that leaves a server open': "{ module: 'only', export: 'serving', cwd: place }",
  }
  const ways: Record<string, string> = { run: 'await it.run()', 'natural end': '', SIGKILL: 'die()' }
  const cases = Object.keys(calls).flatMap((name) => Object.keys(ways).map((way) => [name, way] as const))
  test.each(cases)('%s: done once: %s', async (name, way) => {
    const place = makePlace()
    const dir = join(place.dir, 'node_modules/only')
    mkdirSync(dir, { recursive: true })
    writeFileSync(join(dir, 'package.json'), '{ "name": "only", "type": "module", "exports": { "import": "./index.js" } }')
    writeFileSync(
      join(dir, 'index.js'),
      `
      import { appendFileSync } from 'node:fs'
      import { createServer } from 'node:net'
      export default async function note() { appendFileSync(${JSON.stringify(join(place.dir, 'log'))}, 'called\\n') }
      export const lingering = () => { setInterval(() => {}, 1000); return note() }
      export const serving = () => { createServer().listen(0); return note() }`,
    )
    const source = `${prelude} const it = durable.call(${calls[name]}); ${ways[way]}`
    const ended = await run(source, { env: place.env, timeout: 60_000 })
    expect(ended.stderr).toBe('')
    await until('it is over', () => lines(place).length > 0 && isOver(place))
    expect(lines(place)).toEqual(['called'])
  })
})

describe.concurrent('recover() twice at once: none returns before all is done', () => {
  const both: Record<string, string> = {
    'in a thread': 'await Promise.all([1, 2].map(() => durable.recover().then(tell)))',
    'in two threads': `
      const worker = inWorker('faces.then(([, { durable }]) => durable.recover()).then(() => parentPort.postMessage(0))')
      await Promise.all([durable.recover().then(tell), untilMessage(worker).then(tell)])`,
    'in two processes': `
      const script = "import { durable } from 'exodos/durable'; await durable.recover()"
      const other = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' })
      await Promise.all([durable.recover().then(tell), once(other, 'exit').then(tell)])`,
  }
  test.each(Object.entries(both))('%s', async (_, source) => {
    const { place } = await killWithGuardian("durable.command(note('begin', '; sleep 2; echo end >>\"$0\"'));")
    const { lines: told } = await said(
      place,
      `const tell = () => say(fs.readFileSync(log, 'utf8').split('\\n').join(' ')); ${source}`,
    )
    expect(told).toEqual(['begin end ', 'begin end '])
  })
})

describe.concurrent('a worker is terminated: what it has recorded is done while the process lives', () => {
  const makes = "faces.then(([{ tempDir }]) => { tempDir({ parent: work }); parentPort.postMessage(''); hold() })"
  const nested = `
    const source = ${JSON.stringify(makes)}
    const worker = inWorker(\`faces.then(([{ tempFile }, { durable }]) => {
      durable.status()
      const inner = new Worker(\${JSON.stringify(head + source)}, { eval: true })
      inner.once('message', async () => { await inner.terminate(); parentPort.postMessage('') })
    })
    hold()\`)`
  const workers: Record<string, string> = {
    'one that a worker with a guardian has started, main has one': `durable.status(); ${nested}; await untilMessage(worker)`,
    'one that a worker with a guardian has started, main has none': `${nested}; await untilMessage(worker)`,
  }
  test.each(Object.entries(workers))('%s', async (_, source) => {
    const { lines: told } = await said(
      makePlace(),
      `${source}
       const end = performance.now() + 10_000
       await until(() => fs.readdirSync(work).length === 0 || performance.now() > end)
       say(fs.readdirSync(work).length)
       process.exit()`,
    )
    expect(told).toEqual(['0'])
  })
})

describe.concurrent('the executor’s file', () => {
  const executors = ({ state }: Place) => readdirSync(state).filter((name) => name.startsWith('executor-'))

  test('threads that begin at the same time in a new state directory', async () => {
    for (let round = 0; round < 5; round++) {
      const place = makePlace()
      const { lines: told } = await said(
        place,
        `
        const start = new Int32Array(new SharedArrayBuffer(4))
        const workers = Array.from({ length: 4 }, () => inWorker(\`faces.then(([, { durable }]) => {
          parentPort.postMessage('')
          Atomics.wait(require('node:worker_threads').workerData, 0, 0)
          parentPort.postMessage(durable.status().reason ?? 'fine')
        })\`, { workerData: start }))
        await Promise.all(workers.map(untilMessage))
        const told = workers.map(untilMessage)
        Atomics.store(start, 0, 1)
        Atomics.notify(start, 0)
        for (const each of await Promise.all(told)) say(each)`,
      )
      expect(told).toEqual(['fine', 'fine', 'fine', 'fine'])
      expect(executors(place)).toEqual([expect.stringMatching(/^executor-\w+\.cjs$/)])
    }
  })

  test('that can’t be written leaves nothing behind', async () => {
    const place = makePlace()
    // Nor could a report be written.
    const env = { ...place.env, EXODOS_REPORT: undefined }
    const command = (path: string) => ['/bin/sh', '-c', 'ulimit -f 1; exec "$0" "$1" | cat', node, path]
    const ended = await run(`${prelude} tempDir({ parent: work }); say(durable.status().reason)`, { env, command })
    expect(ended.stdout).toContain('EFBIG')
    expect(executors(place)).toEqual([])
  })
})

describe.concurrent('a socket without made()', () => {
  test.each([
    ['SIGTERM', "process.kill(process.pid, 'SIGTERM'); hold()"],
    ['process.exit', 'process.exit()'],
    ['exit of exodos', 'exit()'],
    ['natural end', 'server.unref()'],
  ])('its path is gone, and nothing is said: %s', async (_, end) => {
    const place = makePlace()
    const source = `${prelude}
      durable.socket(work + '/socket')
      const server = createServer().listen(work + '/socket')
      await once(server, 'listening')
      ${end}`
    const ended = await run(source, { env: place.env })
    expect(ended.stderr).toBe('')
    await until('it is gone', () => readdirSync(place.work).length === 0 && isOver(place))
  })
})

const isolated = canUnshare()

test
  .skipIf(!isolated)
  .concurrent(
    `a container does what a dead one has left: another doesn’t begin beside it${isolated ? '' : ' (unshare --pid is not permitted here)'}`,
    SLOW,
    async () => {
      const place = makePlace()
      const inContainer = (source: string) =>
        start(prelude + source, { env: place.env, timeout: 60_000, command: (path) => asInit(node, path) })
      const owner = inContainer(`
      durable.command(note('begin', '; sleep 3; echo end >>"$0"'))
      await until(() => fs.readdirSync(state + '/owners').some((owner) => isThere(state + '/owners/' + owner + '/lease')))
      ${wait}`)
      await owner.until('ready')
      owner.kill('SIGKILL')
      await owner.ended
      // Its guardian is of the container, and has ended with it.
      const first = inContainer("await durable.recover(); say('done ' + fs.readFileSync(log, 'utf8').split('\\n').join(' '))")
      await until('the first is at it', () => lines(place).length > 0)
      const second = inContainer("await durable.recover(); say('done ' + fs.readFileSync(log, 'utf8').split('\\n').join(' '))")
      const ended = await Promise.all([first.ended, second.ended])
      expect(ended.map(({ stdout }) => stdout)).toEqual(['done begin end \n', 'done begin end \n'])
      expect(owners(place)).toEqual([])
    },
  )

test.concurrent(
  'a guardian that keeps the records itself was stopped: what is cancelled meanwhile is not done',
  SLOW,
  async () => {
    const place = makePlace()
    await run(
      `${prelude}
    durable.command(note('kept'))
    const before = children()
    const cancelled = durable.command(note('cancelled'))
    for (const pid of before) process.kill(pid, 'SIGSTOP')
    const long = durable.command(['true', 'x'.repeat(900_000)])
    cancelled.cancel()
    long.cancel()
    for (const pid of before) try { process.kill(pid, 'SIGCONT') } catch {}
    await until(() => children().some((pid) => !before.includes(pid) && !isZombie(pid)))
    die()`,
      { env: { ...place.env, EXODOS_STATE_DIR: '/proc/none' }, timeout: 60_000 },
    )
    await until('the one that is left is done', () => lines(place).includes('kept'))
    expect(lines(place)).toEqual(['kept'])
  },
)

describe.concurrent('a clock that is wrong', () => {
  const clocks: Record<string, string> = {
    'set back': 'Date.now = () => now() - 5000',
    'set back, a date of its own': 'globalThis.Date = class extends Date { static now() { return now() - 5000 } }',
    stopped: 'Date.now = () => 5',
  }
  test.each(Object.entries(clocks))('%s: newest first nevertheless', async (_, change) => {
    const place = makePlace()
    const source = `const { now } = Date; durable.command(note(1)); ${change}; durable.command(note(2)); durable.command(note(3)); die()`
    await run(prelude + source, { env: place.env })
    await until('all is done', () => lines(place).length === 3)
    expect(lines(place)).toEqual(['3', '2', '1'])
  })

  test('stopped by a test: the wait for a lock ends', async () => {
    const { lines: told } = await said(
      makePlace(),
      `
      await lockFile(place + '/lock')
      const now = performance.now()
      performance.now = () => now
      Date.now = () => 5
      await lockFile(place + '/lock', { wait: '100ms' }).catch(({ code }) => say(code))`,
    )
    expect(told).toEqual(['ERR_EXODOS_LOCKED'])
  })
})

describe.concurrent('run() is under way when the process leaves: done once', () => {
  const ways = {
    exit: 'exit()',
    SIGTERM: "process.kill(process.pid, 'SIGTERM')",
    'runExitHooks, then the end': 'await runExitHooks()',
  }
  test.each(Object.entries(ways))('%s', async (_, way) => {
    const place = makePlace()
    await run(
      `${prelude}
      durable.command(note('begin', '; sleep 1; echo end >>"$0"')).run()
      await until(() => isThere(log))
      ${way}`,
      { env: place.env },
    )
    await until('it is over', () => lines(place).length >= 2 && isOver(place))
    expect(lines(place)).toEqual(['begin', 'end'])
  })
})

describe.concurrent('the state directory was removed while the program runs: SIGKILL leaves nothing', () => {
  const looks: Record<string, string> = {
    'after durable.status()': 'const { guarded, reason } = durable.status(); if (!guarded) say(reason)',
    'a second later': 'await until(() => { tempDir({ parent: work }); return isThere(state) })',
  }
  test.each(Object.entries(looks))('%s', async (_, look) => {
    const place = makePlace()
    const owner = await begin(
      `${prelude}
      tempDir({ parent: work })
      fs.rmSync(state, { recursive: true })
      ${look}
      tempDir({ parent: work })
      ${wait}`,
      {},
      place,
    )
    expect(owner.program.printed()).toBe('ready\n')
    owner.program.kill('SIGKILL')
    await untilClean(owner, [])
  })
})

test.concurrent('made() with nothing there: what comes later is somebody else’s', async () => {
  const place = makePlace()
  await run(
    `${prelude}
    const file = work + '/file'
    fs.writeFileSync(file, 'ours')
    const record = durable.path(file)
    fs.unlinkSync(file)
    record.made()
    fs.writeFileSync(file, 'theirs')
    await record.run()`,
    { env: place.env },
  )
  expect(readdirSync(place.work)).toEqual(['file'])
})

test.concurrent('a worker finds something to be recovered and ends: no zombie is left', SLOW, async () => {
  const { place } = await killWithGuardian("durable.path(work + '/nothing');")
  const { lines: told } = await said(
    place,
    `
    const [name] = fs.readdirSync(state + '/owners')
    const dead = state + '/owners/' + name
    fs.rmSync(dead + '/lease')
    fs.cpSync(dead, place + '/dead', { recursive: true })
    for (let i = 0; i < 3; i++) {
      const worker = inWorker('faces.then(([, { durable }]) => { durable.status(); setTimeout(() => process.exit(), 30) })')
      await once(worker, 'exit')
      await until(() => !isThere(dead))
      fs.cpSync(place + '/dead', dead, { recursive: true })
    }
    const end = performance.now() + 5000
    await until(() => !children().some(isZombie) || performance.now() > end)
    say(children().filter(isZombie).length)`,
  )
  expect(told).toEqual(['0'])
})

describe.concurrent("somebody has emitted 'exit'", () => {
  test.each([
    ['natural end', ''],
    ['process.exit', 'process.exit()'],
    ['SIGKILL', 'die()'],
  ])('nothing is left at the real one: %s', async (_, end) => {
    const place = makePlace()
    await run(
      `${prelude}
      tempDir({ parent: work })
      process.emit('exit', 0)
      for (let i = 0; i < 3; i++) tempDir({ parent: work }).removeSync()
      tempDir({ parent: work })
      ${end}`,
      { env: place.env },
    )
    await until('it is gone', () => readdirSync(place.work).length === 0 && isOver(place) && owners(place).length === 0)
  })
})

describe.concurrent('with the permission model of Node', () => {
  const flag = nodeMajor >= 24 ? '--permission' : '--experimental-permission'
  const may = (place: Place, ...reads: string[]) => [
    flag,
    '--no-warnings',
    '--allow-child-process',
    `--allow-fs-write=${place.dir}/*`,
    ...reads.map((path) => `--allow-fs-read=${path}`),
  ]

  test.each([
    ['process.exit', 'process.exit()'],
    ['SIGKILL', "process.kill(process.pid, 'SIGKILL')"],
  ])('nothing is left: %s', async (_, end) => {
    const place = makePlace()
    const source = `
      import { durable } from 'exodos/durable'
      import { tempDir, tempFile } from 'exodos/temp'
      import fs from 'node:fs'
      const parent = process.env.PLACE + '/work'
      fs.writeFileSync(tempDir({ parent }).path + '/file', '')
      tempFile({ parent })
      fs.writeSync(1, durable.status().guarded + '\\n')
      ${end}`
    const ended = await run(source, { env: place.env, nodeOptions: may(place, '*') })
    expect(ended.stdout).toBe('true\n')
    await until('it is gone', () => readdirSync(place.work).length === 0 && isOver(place))
  })

  test('an import does not throw where little may be read', async () => {
    const place = makePlace()
    const source = "import 'exodos/durable'; import 'exodos/lock'; import 'exodos/temp'"
    const root = fileURLToPath(new URL('../../..', import.meta.url))
    expect(await run(source, { nodeOptions: may(place, `${root}*`) })).toMatchObject({ code: 0 })
  })
})

test.concurrent('a worker whose descriptors Node does not look after: done when the process has ended', async () => {
  const place = makePlace()
  await said(
    place,
    `
    const worker = inWorker(\`faces.then(([{ tempDir }]) => { tempDir({ parent: work }); parentPort.postMessage(''); hold() })\`, { trackUnmanagedFds: false })
    await untilMessage(worker)
    await worker.terminate()`,
  )
  await until('it is gone', () => readdirSync(place.work).length === 0)
})

test.concurrent('many copies of exodos in a thread have one journal, few descriptors, and all is cleaned', async () => {
  const owner = await begin(
    `${prelude}
    const dist = new URL('.', import.meta.resolve('exodos/temp'))
    const descriptors = () => fs.readdirSync('/proc/self/fd').length
    tempDir({ parent: work })
    await sleep(100)
    const before = descriptors()
    for (let i = 0; i < 20; i++) {
      const copy = place + '/copies/' + i + '/'
      fs.mkdirSync(copy, { recursive: true })
      fs.writeFileSync(copy + 'package.json', '{ "type": "module" }')
      for (const name of fs.readdirSync(dist)) if (name.endsWith('.js')) fs.copyFileSync(new URL(name, dist), copy + name)
      const { tempDir } = await import(copy + 'temp.js')
      tempDir({ parent: work })
    }
    await sleep(100)
    say(descriptors() - before)
    ${wait}`,
    { timeout: 60_000 },
  )
  expect(Number(owner.program.printed().split('\n')[0])).toBeLessThan(10)
  expect(readdirSync(owner.place.work)).toHaveLength(21)
  owner.program.kill('SIGKILL')
  await untilClean(owner, [])
})

test.concurrent('what only a newer version can do is kept, however often recover() is called', async () => {
  const { place } = await killWithGuardian("durable.path(work + '/nothing');")
  const [owner = ''] = owners(place)
  const journal = readdirSync(join(place.state, 'owners', owner)).find((name) => name.endsWith('.journal')) as string
  appendFileSync(join(place.state, 'owners', owner, journal), '{"id":9,"at":1,"do":{"kind":"container","image":"x"}}\n')
  for (let i = 0; i < 3; i++) {
    const { lines: told } = await said(
      place,
      `
      const { left, failed } = await durable.recover()
      say([...left, ...failed].map(({ action }) => action.kind).join(' '))`,
    )
    expect(told).toEqual(['container'])
    expect(failed(place)).toHaveLength(1)
  }
})

test.concurrent('the guardian of a thread is killed: replaced', async () => {
  const { place, program } = await begin(
    `${prelude}
    const worker = inWorker(\`faces.then(([{ tempDir }, { durable }]) => {
      tempDir({ parent: work })
      setInterval(() => durable.status(), 50)
      parentPort.postMessage('')
    })\`)
    await untilMessage(worker)
    say('ready')
    await until(() => isThere(place + '/go'))
    await worker.terminate()
    hold()`,
    { timeout: 60_000 },
  )
  const before = helpersOf(place)
  for (const pid of before) kill(pid)
  await until('another', () => helpersOf(place).some((pid) => !before.includes(pid)))
  writeFileSync(join(place.dir, 'go'), '')
  await until('it is gone', () => readdirSync(place.work).length === 0)
  program.kill('SIGKILL')
  await program.ended
})

describe.concurrent('only looked at: no state directory is made', () => {
  test.each([
    ['recover, dry', 'await durable.recover({ dryRun: true })'],
    ['recover', 'await durable.recover()'],
  ])('%s', async (_, act) => {
    const place = makePlace()
    await said(place, act)
    expect(existsSync(place.state)).toBe(false)
  })
  test.each([['recover', '--dry-run'], ['recover']])('exodos %s %s', async (...args) => {
    const place = makePlace()
    await run('', { env: place.env, command: () => [node, main, ...args] })
    expect(existsSync(place.state)).toBe(false)
  })
})

test.concurrent('no descriptors are left: a process is not taken for one that has ended', SLOW, async () => {
  const place = makePlace()
  const source = `${prelude}
    const child = spawn('sleep', ['600'], { stdio: 'ignore' })
    child.unref()
    const record = durable.process(child)
    say(child.pid)
    try { for (;;) fs.openSync('/dev/null') } catch {}
    say(await record.run().then(() => 'done', () => 'failed'))
    process.exit()`
  const command = (path: string) => ['/bin/sh', '-c', 'ulimit -n 600; exec "$0" "$1"', node, path]
  const ended = await run(source, { env: place.env, command })
  const [pid, told] = ended.lines
  expect(told).toBe('failed')
  await until('it has ended', () => !isAlive(Number(pid)))
})

test.concurrent('names of what a scope owns are those it has alone', async () => {
  const { lines: told } = await said(
    makePlace(),
    `
    const job = scope({ name: 'job' })
    const dir = job.use(tempDir({ parent: work }))
    job.use(await lockFile(place + '/lock'))
    job.use(durable.command(['true', 'x']))
    const file = closeOnExit(tempFile({ parent: work }))
    const text = String(await explain())
    for (const name of ['remove ' + dir.path, 'remove ' + file.path, place + '/lock', 'true x']) say(text.includes(name) || text)`,
  )
  expect(told).toEqual(['true', 'true', 'true', 'true'])
})

test.concurrent.each([
  ['keep', 'tempDir({ parent: work })', 'remove', 'keep'],
  ['cancel', 'Object.assign(durable.path(tree, { tree: true }), { path: tree })', 'run', 'cancel'],
])('%s while the tree is being removed: what is there then stays', async (_, make, remove, stop) => {
  const { lines: told } = await said(
    makePlace(),
    `const tree = work + '/tree'
    fs.mkdirSync(tree)
    const it = ${make}
    for (let i = 0; i < 5000; i++) fs.writeFileSync(it.path + '/' + i, '')
    const count = () => fs.readdirSync(work, { recursive: true }).length
    const before = count()
    const removing = it.${remove}().catch(() => {})
    while (count() === before) await new Promise((resolve) => setImmediate(resolve))
    it.${stop}()
    const then = count()
    await removing
    const end = performance.now() + 300
    await until(() => count() !== then || performance.now() > end)
    say(then > 1000 && count() - then)`,
  )
  expect(told).toEqual(['0'])
})

test.concurrent('a socket without made(): run() says what it has done', async () => {
  const place = makePlace()
  const ended = await run(
    `${prelude}
    const record = durable.socket(work + '/socket')
    const server = createServer().listen(work + '/socket')
    await once(server, 'listening')
    const result = await record.run().then(() => 'done', () => 'failed')
    say(isThere(work + '/socket') === (result === 'failed'))
    process.exit()`,
    { env: place.env },
  )
  expect(ended.lines).toEqual(['true'])
  await until('it is gone', () => readdirSync(place.work).length === 0)
})

test.concurrent('a socket that its server has removed: nothing is left to be done after the exit', async () => {
  const place = makePlace()
  await said(
    place,
    `
    durable.socket(work + '/socket')
    const server = createServer().listen(work + '/socket')
    await once(server, 'listening')
    server.close()
    await once(server, 'close')`,
  )
  expect(owners(place)).toEqual([])
  expect(helpersOf(place).filter((pid) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(node))).toEqual([])
})

test.concurrent('a tree with something in it that another who lives has recorded: the exit does not fail', SLOW, async () => {
  const place = makePlace()
  mkdirSync(join(place.work, 'tree'))
  const living = await begin(`${prelude} tempFile({ parent: work + '/tree' }); ${wait}`, {}, place)
  await said(place, "durable.path(work + '/tree', { tree: true })")
  expect(readdirSync(join(place.work, 'tree'))).toHaveLength(1)
  living.program.kill('SIGKILL')
  await living.program.ended
  await until('nobody is at work', () => helpersOf(place).length === 0)
  await said(place, 'await durable.recover()')
  expect(readdirSync(place.work)).toEqual([])
})
