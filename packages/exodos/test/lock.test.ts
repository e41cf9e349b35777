import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { transformSync } from 'esbuild'
import { describe, expect, test } from 'vitest'
import { type Program, run, start } from './support/program.js'

const prelude = `
import { exit, onExit, scope } from 'exodos'
import { durable } from 'exodos/durable'
import { lockFile } from 'exodos/lock'
import { tempDir } from 'exodos/temp'
import { getEventListeners, once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
process.env.EXODOS_STATE_DIR ??= path.resolve('state')
process.env.TMPDIR = path.resolve('tmp')
fs.mkdirSync('tmp')
const file = process.env.LOCK ?? path.resolve('app.lock')
const say = (text) => fs.writeSync(1, text + '\\n')
const isThere = (name = file) => fs.lstatSync(name, { throwIfNoEntry: false }) !== undefined
const hold = () => setTimeout(() => {}, 60_000)
const tell = async (promise) => promise.then((lock) => 'held ' + lock.isHeld(), (error) => error?.code ? error.code + ' ' + error.message : String(error))
`

const holder = `${prelude}
const lock = await lockFile(file)
say('ready')
process.stdin.once('data', async () => { await lock.release(); process.stdin.destroy() })`

/** Starts a program that looks at the same lock, and at the same records. */
const beside = (first: Program, source: string): Program =>
  start(prelude + source, { env: { LOCK: join(first.dir, 'app.lock'), EXODOS_STATE_DIR: join(first.dir, 'state') } })

const startHolder = async () => {
  const program = start(holder, { stdio: ['pipe', 'pipe', 'pipe'] })
  await program.until('ready')
  return program
}

async function letGo(program: Program): Promise<void> {
  program.child.stdin?.write('go')
  expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
}

const locks = (dir: string) => readdirSync(dir).filter((name) => name.includes('.lock'))

async function said(source: string, program = start(prelude + source)): Promise<string[]> {
  const { lines, stderr, code, dir } = await program.ended
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
  expect(locks(dir)).toEqual([])
  return lines
}

describe('one holder', () => {
  test('the second taker is told who has it', async () => {
    const first = await startHolder()
    const [line] = await said('', beside(first, 'say(await tell(lockFile(file)))'))
    expect(line).toBe(`ERR_EXODOS_LOCKED ${first.dir}/app.lock is held by process ${first.child.pid}`)
    await letGo(first)
  })

  test('so is the same process', async () => {
    const source = `
      const lock = await lockFile('app.lock')
      say(lock.path === file)
      say(lock.isHeld())
      say(await tell(lockFile(file)) === 'ERR_EXODOS_LOCKED ' + file + ' is held by process ' + process.pid)
      await lock.release()
      say(lock.isHeld())
      say(isThere())
      say(await tell(lockFile(file)))`
    expect(await said(source)).toEqual(['true', 'true', 'true', 'false', 'false', 'held true'])
  })

  test('released twice, at once or later, by dispose as well; a later holder is not touched', async () => {
    const source = `
      const lock = await lockFile(file)
      await Promise.all([lock.release(), lock.release()])
      const next = await lockFile(file)
      await lock.release()
      await lock[Symbol.asyncDispose]()
      say(next.isHeld())
      say(durable.status().records)`
    expect(await said(source)).toEqual(['true', '1'])
  })

  test('`await using` gives it back', async () => {
    const source = '{ await using lock = await lockFile(file); say(lock.isHeld()) }\nsay(isThere())'
    expect(await said('', start(transformSync(prelude + source, { target: 'node20' }).code))).toEqual(['true', 'false'])
  })

  test('two worker threads contend', async () => {
    const source = `
      import { isMainThread, Worker, workerData } from 'node:worker_threads'
      if (isMainThread) {
        const inside = new Int32Array(new SharedArrayBuffer(12))
        const workers = [1, 2].map(() => new Worker(new URL(import.meta.url), { workerData: inside }))
        await Promise.all(workers.map((worker) => once(worker, 'exit')))
        say('taken ' + inside[1] + ', shared ' + inside[2])
      } else {
        const [inside, taken, shared] = [0, 1, 2]
        for (let n = 0; n < 10; n++) {
          const lock = await lockFile(file, { wait: Infinity })
          if (Atomics.add(workerData, inside, 1) > 0) Atomics.add(workerData, shared, 1)
          Atomics.add(workerData, taken, 1)
          await sleep(1)
          Atomics.sub(workerData, inside, 1)
          await lock.release()
        }
      }`
    expect(await said(source, start((prelude + source).replace("fs.mkdirSync('tmp')", '')))).toEqual(['taken 20, shared 0'])
  })

  test.each([
    ['terminated', 'await worker.terminate()'],
    ['failed', "worker.postMessage('fail'); await once(worker, 'error')"],
    ['left', "worker.postMessage('leave'); await once(worker, 'exit')"],
  ])('that of a worker thread which was %s is free, while the process lives', async (_, end) => {
    const source = `
      import { isMainThread, parentPort, Worker } from 'node:worker_threads'
      if (isMainThread) {
        const worker = new Worker(new URL(import.meta.url))
        await once(worker, 'message')
        say((await tell(lockFile(file))).includes('is held by process ' + process.pid))
        ${end}
        const lock = await lockFile(file, { wait: '10s' })
        say(lock.isHeld())
        await lock.release()
      } else {
        await lockFile(file)
        parentPort.once('message', (what) => { if (what === 'fail') throw new Error('meant'); else process.exit() })
        parentPort.postMessage('ready')
      }`
    expect(await said(source, start((prelude + source).replace("fs.mkdirSync('tmp')", '')))).toEqual(['true', 'true'])
  })

  const takers = 20
  test(`${takers} processes take turns`, { timeout: 120_000 }, async () => {
    const first = await startHolder()
    const source = `
      const lock = await lockFile(file, { wait: Infinity })
      fs.appendFileSync(file + '.log', 'in\\n')
      await sleep(2)
      fs.appendFileSync(file + '.log', 'out\\n')
      await lock.release()`
    const programs = Array.from({ length: takers }, () => beside(first, source))
    await letGo(first)
    for (const { ended } of programs) expect(await ended).toMatchObject({ code: 0, stderr: '' })
    expect(readFileSync(join(first.dir, 'app.lock.log'), 'utf8')).toBe('in\nout\n'.repeat(takers))
    expect(locks(first.dir)).toEqual(['app.lock.log'])
  })
})

describe('waiting', () => {
  test.each(["{ wait: '20s' }", '{ wait: Infinity }', '{ wait: 20_000 }'])('%s: until it is released', async (options) => {
    const first = await startHolder()
    const second = beside(first, `say('ready')\nsay(await tell(lockFile(file, ${options})))`)
    await second.until('ready')
    await letGo(first)
    expect(await second.ended).toMatchObject({ code: 0, lines: ['ready', 'held true'], stderr: '' })
  })

  test('in vain: for as long as was said', async () => {
    const source = `
      await lockFile(file)
      const began = performance.now()
      say((await tell(lockFile(file, { wait: '100ms' }))).split(' ')[0])
      say(performance.now() - began >= 99)`
    expect(await said(source)).toEqual(['ERR_EXODOS_LOCKED', 'true'])
  })

  const aborts: [when: string, source: string, said: string][] = [
    ['before', "c.abort('mine'); say(await tell(lockFile(file, options)))", 'mine'],
    ['before, on a free lock', "c.abort('mine'); say(await tell(lockFile('free.lock', options)))", 'mine'],
    ['without a reason', 'c.abort(); say(await tell(lockFile(file, options)))', '20 This operation was aborted'],
    ['later', "setTimeout(() => c.abort('mine'), 20); say(await tell(lockFile(file, options)))", 'mine'],
    [
      'afterwards',
      "await lock.release(); const next = await lockFile(file, options); c.abort('mine'); say(next.isHeld())",
      'true',
    ],
    ['by a timeout', 'say((await tell(lockFile(file, { wait: Infinity, signal: AbortSignal.timeout(20) }))).slice(0, 2))', '23'],
  ]
  test.each(aborts)('aborted %s', async (_, source, expected) => {
    const program = `
      const lock = await lockFile(file)
      const c = new AbortController()
      const options = { wait: Infinity, signal: c.signal }
      ${source}
      say(getEventListeners(c.signal, 'abort').length)
      say(isThere('free.lock'))
      say(durable.status().records)`
    expect(await said(program)).toEqual([expected, '0', 'false', '1'])
  })

  test('keeps the process; a signal ends it nevertheless', async () => {
    const first = await startHolder()
    const second = beside(first, "onExit(() => say('hook'))\nsay('ready')\nawait lockFile(file, { wait: Infinity })")
    await second.until('ready')
    second.kill('SIGTERM')
    expect(await second.ended).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'hook'], stderr: '' })
    expect(locks(first.dir)).toEqual(['app.lock'])
    await letGo(first)
  })

  test('a holder that was killed is followed at once', async () => {
    const first = await startHolder()
    const second = beside(first, "say('ready')\nsay(await tell(lockFile(file, { wait: Infinity })))\nsay(Date.now())")
    await second.until('ready')
    first.kill('SIGKILL')
    const killed = Date.now()
    await first.ended
    const [, held, at] = (await second.ended).lines
    expect(held).toBe('held true')
    expect(Number(at) - killed).toBeLessThan(3000)
  })

  test('a holder that was stopped keeps it', async () => {
    const first = await startHolder()
    first.kill('SIGSTOP')
    const second = beside(first, "say((await tell(lockFile(file, { wait: '1500ms' }))).split(' ')[0])")
    expect(await second.ended).toMatchObject({ code: 0, lines: ['ERR_EXODOS_LOCKED'] })
    first.kill('SIGCONT')
    await letGo(first)
    expect(locks(first.dir)).toEqual([])
  })

  test('a holder whose loop is blocked keeps it', async () => {
    const source = `
      import { spawnSync } from 'node:child_process'
      const lock = await lockFile(file)
      fs.writeFileSync('other.mjs', \`import { lockFile } from 'exodos/lock'
        await lockFile(\${JSON.stringify(file)}, { wait: '300ms' }).catch(({ code }) => console.log(code))\`)
      say(spawnSync(process.execPath, ['other.mjs'], { encoding: 'utf8' }).stdout.trim())
      say(lock.isHeld())`
    expect(await said(source)).toEqual(['ERR_EXODOS_LOCKED', 'true'])
  })
})

describe('compromised', () => {
  const spoilt: Record<string, string> = {
    removed: 'fs.rmSync(file)',
    'replaced by a file': "fs.rmSync(file); fs.writeFileSync(file, 'text')",
    'taken by another': 'fs.rmSync(file); const thief = await lockFile(file)',
  }
  test.each(Object.entries(spoilt))('%s: said once, and release does not touch it', async (_, act) => {
    const source = `
      let calls = 0
      const told = new Promise((resolve) => { globalThis.resolve = resolve })
      const lock = await lockFile(file, { onCompromised: (error) => { calls++; resolve(error) } })
      ${act}
      const keepAlive = hold()
      const error = await told
      say(error.code + ' ' + error.message.replace(file, 'FILE'))
      say(lock.isHeld())
      const before = fs.readdirSync('.').filter((name) => name === 'app.lock').length
      await sleep(1200)
      await lock.release()
      say(calls + ' ' + (fs.readdirSync('.').filter((name) => name === 'app.lock').length === before))
      ${act.includes('thief') ? 'await thief.release()' : 'fs.rmSync(file, { force: true })'}
      clearTimeout(keepAlive)`
    expect(await said(source)).toEqual(['ERR_EXODOS_LOCK FILE was removed or replaced by somebody else', 'false', '1 true'])
  })

  test('never after release; and it does not keep the process', async () => {
    const source = `
      const lock = await lockFile(file, { onCompromised: () => say('compromised') })
      const other = await lockFile('other.lock', { onCompromised: () => say('compromised') })
      await lock.release()
      await sleep(1200)`
    expect(await said(source)).toEqual([])
  })
})

describe('given back on every way out', () => {
  const ways: Record<string, string> = {
    'natural end': '',
    'process.exit': 'process.exit(0)',
    'exit of exodos': 'exit(0)',
    reallyExit: 'process.reallyExit(0)',
    'an error': "throw new Error('meant')",
    'a rejection': "Promise.reject(new Error('meant')); hold()",
    SIGTERM: "process.kill(process.pid, 'SIGTERM'); hold()",
    SIGINT: "process.kill(process.pid, 'SIGINT'); hold()",
    SIGHUP: "process.kill(process.pid, 'SIGHUP'); hold()",
    SIGKILL: "process.kill(process.pid, 'SIGKILL'); hold()",
    'process.abort': 'process.abort()',
    'no memory': 'const all = []; for (;;) all.push(new Array(1e5).fill(Math.random()))',
  }
  test.each(Object.entries(ways))('%s', async (_, way) => {
    const { dir } = await run(`${prelude}await lockFile(file)\n${way}`, { nodeOptions: ['--max-old-space-size=32'] })
    await expect.poll(() => locks(dir), { timeout: 15_000, interval: 20 }).toEqual([])
    await expectOver(dir)
  })

  test.each(Object.entries(ways))('in a temporary directory: %s', async (_, way) => {
    const source = `const dir = tempDir()\nawait lockFile(dir.path + '/app.lock')\n${way}`
    const { dir } = await run(prelude + source, { nodeOptions: ['--max-old-space-size=32'] })
    await expect.poll(() => readdirSync(join(dir, 'tmp')), { timeout: 15_000, interval: 20 }).toEqual([])
    await expectOver(dir)
  })

  test('after the hooks that were registered later, before those registered earlier', async () => {
    const source = `
      onExit(() => say('earlier ' + isThere()))
      await lockFile(file)
      onExit(() => say('later ' + isThere()))`
    expect(await said(source)).toEqual(['later true', 'earlier false'])
  })

  test('of a scope: with it, after what was added to it later', async () => {
    const source = `
      const lock = await lockFile(file)
      const job = scope({ name: 'job' })
      job.use(lock)
      job.defer(() => say(lock.isHeld()))
      await job.disposeAsync()
      say(lock.isHeld())`
    expect(await said(source)).toEqual(['true', 'false'])
  })
})

/** The guardian doesn't write to a directory any more that is about to be removed. */
async function expectOver(dir: string): Promise<void> {
  const journals = () =>
    readdirSync(join(dir, 'state'), { recursive: true })
      .map((name) => join(dir, 'state', String(name)))
      .filter((name) => name.endsWith('.journal') && existsSync(name) && readFileSync(name).length > 0)
  await expect.poll(journals, { timeout: 15_000, interval: 20 }).toEqual([])
}

test('bad input is refused, and nothing is made or recorded', async () => {
  const cases: [call: string, error: RegExp][] = [
    ['lockFile()', /^ERR_EXODOS_INVALID_ARG lockFile\(path\): expected the path of a file, got undefined/],
    ["lockFile('')", /^ERR_EXODOS_INVALID_ARG lockFile\(path\)/],
    ["lockFile('a\\0b')", /^ERR_EXODOS_INVALID_ARG lockFile\(path\)/],
    ["lockFile(new URL('file:///tmp/a.lock'))", /^ERR_EXODOS_INVALID_ARG lockFile\(path\)/],
    ["lockFile('a.lock', null)", /^ERR_EXODOS_INVALID_ARG lockFile\(path, options\): expected an object, got null/],
    [
      "lockFile('a.lock', { retries: 3 })",
      /^ERR_EXODOS_INVALID_ARG lockFile\(path, options\): expected one of wait, .*"retries"/,
    ],
    ["lockFile('a.lock', { wait: 'soon' })", /^ERR_EXODOS_INVALID_ARG options\.wait: expected milliseconds/],
    ["lockFile('a.lock', { wait: -1 })", /^ERR_EXODOS_INVALID_ARG options\.wait/],
    ["lockFile('a.lock', { wait: NaN })", /^ERR_EXODOS_INVALID_ARG options\.wait/],
    ["lockFile('a.lock', { wait: -Infinity })", /^ERR_EXODOS_INVALID_ARG options\.wait/],
    ["lockFile('a.lock', { signal: 1 })", /^ERR_EXODOS_INVALID_ARG options\.signal/],
    ["lockFile('a.lock', { signal: new AbortController() })", /^ERR_EXODOS_INVALID_ARG options\.signal/],
    ["lockFile('a.lock', { onCompromised: 1 })", /^ERR_EXODOS_INVALID_ARG options\.onCompromised: expected a function, got 1/],
    ["lockFile('missing/a.lock')", /^ENOENT .*missing/],
    ["lockFile('missing/a.lock', { wait: Infinity })", /^ENOENT .*missing/],
    ["lockFile('program.mjs/a.lock')", /^ENOTDIR .*program\.mjs/],
    ["lockFile('tmp')", /^ERR_EXODOS_LOCK .*\/tmp is not a lock but somebody's file: .*\.lock$/],
    [
      "lockFile('program.mjs', { wait: Infinity })",
      /^ERR_EXODOS_LOCK .*program\.mjs is not a lock but somebody's file: .*\.lock$/,
    ],
    ["lockFile('dangling')", /^ERR_EXODOS_LOCK .*dangling is not a lock/],
    ["lockFile('a'.repeat(300))", /^ENAMETOOLONG/],
  ]
  const source = `
    fs.symlinkSync('nowhere', 'dangling')
    for (const call of ${JSON.stringify(cases.map(([call]) => call))}) {
      let promise
      try { promise = eval(call) } catch (error) { say('thrown, not rejected: ' + error) ; continue }
      say(JSON.stringify(await tell(promise)))
    }
    say(JSON.stringify([durable.status().records, isThere('a.lock'), fs.readFileSync('program.mjs', 'utf8').length > 0]))`
  const lines = (await said(source)).map((line) => JSON.parse(line))
  expect(lines).toEqual([...cases.map(([, error]) => expect.stringMatching(error)), [0, false, true]])
})
