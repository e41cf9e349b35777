import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { type Program, poll, run, start } from './support/program.js'

// They wait more than they work.
vi.setConfig({ maxConcurrency: 3 })

const prelude = `
import { closeOnExit, configure, onExit, runExitHooks } from 'exodos'
import { durable } from 'exodos/durable'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import { connect, createServer } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
process.env.EXODOS_STATE_DIR ??= path.resolve('state')
const here = process.cwd()
const say = (value) => fs.writeSync(1, JSON.stringify(value) + '\\n')
const hold = () => setTimeout(() => {}, 60_000)
const note = (text) => ['sh', '-c', 'echo ' + text + ' >> ' + here + '/notes']
const notes = () => { try { return fs.readFileSync('notes', 'utf8').split('\\n').filter(Boolean) } catch { return [] } }
const isAlive = (pid) => { try { return !/^\\d+ \\(.*\\) [ZX]/s.test(fs.readFileSync('/proc/' + pid + '/stat', 'utf8')) } catch { return false } }
`

const ways: Record<string, string> = {
  'natural end': '',
  'process.exit': 'process.exit(0)',
  reallyExit: 'process.reallyExit(0)',
  SIGTERM: "process.kill(process.pid, 'SIGTERM'); hold()",
  SIGKILL: "process.kill(process.pid, 'SIGKILL'); hold()",
}

const limits = { timeout: 20_000, interval: 20 }
const list = (dir: string) => (existsSync(dir) ? readdirSync(dir).map((name) => join(dir, name)) : [])
const notesIn = (dir: string) =>
  existsSync(join(dir, 'notes')) ? readFileSync(join(dir, 'notes'), 'utf8').split('\n').filter(Boolean) : []
const failedIn = (dir: string) => list(join(dir, 'state/failed'))

/** Nobody has anything to do any more. */
async function expectOver({ dir }: { dir: string }): Promise<void> {
  const journals = () =>
    list(join(dir, 'state/owners'))
      .flatMap(list)
      .filter((file) => file.endsWith('.journal') && existsSync(file) && readFileSync(file).length > 0)
  await poll(journals, limits).toEqual([])
}

async function said(source: string, options = {}): Promise<unknown[]> {
  const ended = await run(prelude + source, options)
  expect(ended).toMatchObject({ code: 0, stderr: '' })
  await expectOver(ended)
  return ended.lines.map((line) => JSON.parse(line))
}

test.concurrent('an import makes no file, no process and no listener, and does not hold the process', async () => {
  const source = `
    import { readdirSync, readFileSync } from 'node:fs'
    const listeners = () => process.eventNames().map((name) => [String(name), process.listenerCount(name)])
    const before = JSON.stringify(listeners())
    const emit = process.emit, exit = process.exit
    await Promise.all(['durable', 'temp', 'lock'].map((face) => import('exodos/' + face)))
    const children = readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8')
    console.log(JSON.stringify([JSON.stringify(listeners()) === before, process.emit === emit, process.exit === exit, children, readdirSync('.'), process.getActiveResourcesInfo().filter((name) => /Timeout|Immediate|Process|Worker|Server/.test(name))]))`
  const { lines, dir } = await run(source, { env: { EXODOS_STATE_DIR: 'state', EXODOS_REPORT: undefined } })
  expect(lines.map((line) => JSON.parse(line))).toEqual([[true, true, true, '', ['program.mjs'], []]])
  expect(readdirSync(dir)).toEqual(['program.mjs'])
})

describe.concurrent('bad input is refused, by name, and nothing is recorded', () => {
  const path = /^ERR_EXODOS_INVALID_ARG durable\.path\(path, options\): expected /
  const child = /^ERR_EXODOS_INVALID_ARG durable\.process\(process\): expected a child process, or the pid of one/
  const argv = /^ERR_EXODOS_INVALID_ARG durable\.command\(argv\): expected a program and its arguments, as a list, got ./
  const option = (name: string) => new RegExp(`^ERR_EXODOS_INVALID_ARG options\\.${name}: expected .*, got .`, 's')
  const module = option('module')
  const args = /^ERR_EXODOS_INVALID_ARG options\.args\[0\]: expected something that JSON keeps as it is/
  const unknown = (call: string, what: string) =>
    new RegExp(`^ERR_EXODOS_INVALID_ARG ${call}\\(.*options\\): expected one of .*"${what}"`)
  const tables: Record<string, [call: string, error: RegExp][]> = {
    path: [
      ['durable.path()', path],
      ['durable.path(1)', path],
      ["durable.path('')", path],
      ["durable.path('relative')", /relative"? is not an absolute path/],
      ["durable.path(here + '/../x')", /holds '\.\.'/],
      ["durable.path('/tmp/a\\0b')", /holds a NUL character/],
      ["durable.path('/')", /the root of the file system/],
      ['durable.path(here)', /is the current directory/],
      ['durable.path(path.dirname(here))', /is above the current directory/],
      ["durable.path('/proc')", /mount point/],
      ["durable.path(new URL('file:///tmp/x'))", path],
      ["durable.path(here + '/x', null)", /^ERR_EXODOS_INVALID_ARG durable\.path\(path, options\): expected an object, got null/],
      ["durable.path(here + '/x', { recursive: true })", unknown('durable\\.path', 'recursive')],
      ["durable.path(here + '/x', { tree: 1 })", option('tree')],
      ["durable.path(here + '/x', { name: 1 })", option('name')],
    ],
    socket: [
      ['durable.socket()', /^ERR_EXODOS_INVALID_ARG durable\.socket\(path, options\): expected an absolute path, got undefined/],
      ["durable.socket('app.sock')", /app\.sock"? is not an absolute path/],
      ["durable.socket('\\0abstract')", /NUL/],
      ["durable.socket(here + '/x', { tree: true })", unknown('durable\\.socket', 'tree')],
      ["durable.socket(here + '/x', { name: {} })", option('name')],
    ],
    process: [
      ['durable.process()', child],
      ['durable.process(null)', child],
      ['durable.process({})', child],
      ['durable.process(0)', child],
      ['durable.process(-1)', child],
      ['durable.process(1)', child],
      ['durable.process(1.5)', child],
      ["durable.process('2')", child],
      ['durable.process(process.pid)', /^ERR_EXODOS_INVALID_ARG durable\.process\(process\): expected neither this process nor/],
      ['durable.process(process.ppid)', /^ERR_EXODOS_INVALID_ARG/],
      ['durable.process(2 ** 30)', child],
      ['durable.process(live, { group: 1 })', option('group')],
      ['durable.process(live, { signal: 15 })', option('signal')],
      ["durable.process(live, { signal: 'TERM' })", option('signal')],
      ["durable.process(live, { signal: 'SIGNOPE' })", option('signal')],
      ['durable.process(live, { timeout: -1 })', option('timeout')],
      ["durable.process(live, { timeout: 'soon' })", option('timeout')],
      ["durable.process(live, { cookie: 'A' })", option('cookie')],
      ["durable.process(live, { cookie: '' })", option('cookie')],
      ['durable.process(live, { cookie: 1 })', option('cookie')],
      ['durable.process(live, { tree: true })', unknown('durable\\.process', 'tree')],
      ['durable.process(live, { name: 1 })', option('name')],
    ],
    command: [
      ['durable.command()', argv],
      ["durable.command('rm x')", argv],
      ['durable.command([])', argv],
      ["durable.command([''])", argv],
      ["durable.command(['a', 1])", argv],
      ["durable.command(['a\\0'])", /^ERR_EXODOS_INVALID_ARG durable\.command\(argv\)/],
      ["durable.command(['a'], { shell: true })", unknown('durable\\.command', 'shell')],
      ["durable.command(['a'], { cwd: 1 })", option('cwd')],
      ["durable.command(['a'], { env: null })", option('env')],
      ["durable.command(['a'], { env: [] })", option('env')],
      ["durable.command(['a'], { env: { A: 1 } })", option('env')],
      ["durable.command(['a'], { env: { A: undefined } })", option('env')],
      ["durable.command(['a'], { env: { A: 'b\\0' } })", option('env')],
      ["durable.command(['a'], { timeout: Infinity })", option('timeout')],
      ["durable.command(['a'], { timeout: 'x' })", option('timeout')],
      ["durable.command(['a'], { name: 7 })", option('name')],
    ],
    call: [
      ['durable.call()', /^ERR_EXODOS_INVALID_ARG durable\.call\(options\): expected an object, got undefined/],
      ["durable.call('x')", /^ERR_EXODOS_INVALID_ARG durable\.call\(options\): expected an object, got "x"/],
      ['durable.call({})', module],
      ["durable.call({ module: './x.js' })", module],
      ["durable.call({ module: '../x.js' })", module],
      ["durable.call({ module: '/x.js' })", module],
      ["durable.call({ module: '' })", module],
      ['durable.call({ module: 1 })', module],
      ["durable.call({ module: 'https://host/x.js' })", module],
      ["durable.call({ module: new URL('https://host/x.js') })", module],
      ["durable.call({ module: 'x', export: 1 })", option('export')],
      ["durable.call({ module: 'x', args: 'abc' })", option('args')],
      ["durable.call({ module: 'x', args: [1n] })", args],
      ["durable.call({ module: 'x', args: cycle })", args],
      ["durable.call({ module: 'x', args: [() => {}] })", args],
      ["durable.call({ module: 'x', args: [undefined] })", args],
      ["durable.call({ module: 'x', args: [Symbol()] })", args],
      ["durable.call({ module: 'x', args: [NaN] })", args],
      ["durable.call({ module: 'x', args: [new Map()] })", args],
      ["durable.call({ module: 'x', args: [{ deep: [() => {}] }] })", args],
      ["durable.call({ module: 'x', timeout: -1 })", option('timeout')],
      ["durable.call({ module: 'x', path: 1 })", unknown('durable\\.call', 'path')],
      ["durable.call({ module: 'x', name: 1 })", option('name')],
    ],
    'the others': [
      ['durable.recover(1)', /^ERR_EXODOS_INVALID_ARG durable\.recover\(options\): expected an object, got 1/],
      ['durable.recover({ dry: true })', unknown('durable\\.recover', 'dry')],
      ['durable.recover({ dryRun: 1 })', option('dryRun')],
      ['durable.configure()', /^ERR_EXODOS_INVALID_ARG durable\.configure\(options\): expected an object, got undefined/],
      ["durable.configure({ dir: '/tmp' })", unknown('durable\\.configure', 'dir')],
      [
        "durable.configure({ durability: 'disk' })",
        /^ERR_EXODOS_INVALID_ARG options\.durability: expected 'process' or 'power', got "disk"/,
      ],
      ['durable.configure({ stateDir: 1 })', option('stateDir')],
      [
        "durable.configure({ stateDir: 'relative' })",
        /^ERR_EXODOS_INVALID_ARG options\.stateDir: expected an absolute path, got "relative"/,
      ],
      ["durable.configure({ stateDir: here + '/program.mjs' })", /^ERR_EXODOS_INVALID_ARG options\.stateDir: .*program\.mjs/],
      ["durable.configure({ stateDir: '/proc/none' })", /^ERR_EXODOS_INVALID_ARG options\.stateDir: .*\/proc\/none/],
      [
        "(fs.mkdirSync('open'), fs.chmodSync('open', 0o777), durable.configure({ stateDir: here + '/open' }))",
        /can be written to by others/,
      ],
    ],
  }

  test.each(Object.entries(tables))('%s', async (_, cases) => {
    const source = `
      const live = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
      const ended = spawn('true')
      await once(ended, 'exit')
      const cycle = []
      cycle.push(cycle)
      const wrong = []
      for (const call of ${JSON.stringify(cases.map(([call]) => call))}) {
        try { const made = await eval(call); say('accepted: ' + call); made?.cancel?.() } catch (error) { say(error.code + ' ' + error.message) }
      }
      live.kill('SIGKILL')
      say(durable.status().records)`
    expect(await said(source)).toEqual([...cases.map(([, error]) => expect.stringMatching(error)), 0])
  })
})

describe.concurrent('once', () => {
  const cases: [act: string, times: number][] = [
    ['await r.run()', 1],
    ['r.runSync()', 1],
    ['await r[Symbol.asyncDispose]()', 1],
    ['r.cancel()', 0],
    ['await r.run(); await r.run()', 1],
    ['r.runSync(); r.runSync()', 1],
    ['await Promise.all([r.run(), r.run(), r[Symbol.asyncDispose]()])', 1],
    ['await r.run(); r.runSync(); r.cancel(); await r[Symbol.asyncDispose]()', 1],
    ['r.runSync(); await r.run(); r.cancel()', 1],
    ['r.cancel(); await r.run(); r.runSync(); await r[Symbol.asyncDispose]()', 0],
    ['r.cancel(); r.cancel()', 0],
    ['const { run, runSync, cancel } = r; await run(); runSync(); cancel()', 1],
  ]
  test.each(cases)('%s: %i times, and never again, killed or not', async (act, times) => {
    const { dir, ...ended } = await run(
      `${prelude}const r = durable.command(note('done')); ${act}\nsay([notes().length, durable.status().records])\n${ways.SIGKILL}`,
    )
    expect(ended.stdout).toBe(`${JSON.stringify([times, 0])}\n`)
    await expectOver({ dir })
    expect(notesIn(dir).length).toBe(times)
  })

  test.each(Object.keys(ways))('on the way out: %s', async (way) => {
    const ended = await run(`${prelude}durable.command(note('done'))\n${ways[way]}`)
    await poll(() => notesIn(ended.dir), limits).toEqual(['done'])
    await expectOver(ended)
    expect(notesIn(ended.dir)).toEqual(['done'])
  })

  test('a failure rejects or throws, and the record stays until it is done', async () => {
    const source = `
      const r = durable.command(['sh', '-c', 'test -f allowed && echo done >> notes'])
      const errors = []
      await r.run().catch(({ message }) => errors.push(message))
      try { r.runSync() } catch ({ message }) { errors.push(message) }
      const { records } = durable.status()
      fs.writeFileSync('allowed', '')
      await r.run(); await r.run()
      say([errors, records, durable.status().records, notes()])`
    const error = expect.stringMatching(/ended with exit code 1$/)
    expect(await said(source)).toEqual([[[error, error], 1, 0, ['done']]])
  })
})

describe.concurrent('its place among the hooks', () => {
  const mixed = `
    onExit(() => fs.appendFileSync('notes', '1\\n'))
    durable.command(note('2'))
    onExit(async () => { await sleep(20); fs.appendFileSync('notes', '3\\n') })
    durable.command(note('4'))
    closeOnExit({ close: () => fs.appendFileSync('notes', '5\\n') })\n`
  test.each(['natural end', 'process.exit', 'SIGTERM'])('newest first: %s', async (way) => {
    const ended = await run(prelude + mixed + ways[way])
    expect(notesIn(ended.dir)).toEqual(['5', '4', '3', '2', '1'])
    await expectOver(ended)
  })

  test('the guardian does them newest first, too', async () => {
    const ended = await run(`${prelude}for (const n of [1, 2, 3]) durable.command(note(n))\n${ways.SIGKILL}`)
    await poll(() => notesIn(ended.dir), limits).toEqual(['3', '2', '1'])
    await expectOver(ended)
  })

  test('names in the report: one that was given, or what is done to what', async () => {
    const { report, dir } = await run(`${prelude}
      const live = spawn('sleep', ['60'], { stdio: 'ignore' })
      live.unref()
      durable.path(here + '/a'); durable.path(here + '/b', { tree: true, name: 'scratch' }); durable.socket(here + '/c')
      durable.command(['true', 'and so on']); durable.call({ module: 'exodos', export: 'explain' }); durable.process(live)
      say(live.pid)`)
    const names = report?.hooks.map(({ name, status }) => `${name}: ${status}`)
    expect(names).toEqual([
      expect.stringMatching(/^end process \d+: ok$/),
      'call explain of exodos: ok',
      'true and so on: ok',
      `remove socket ${dir}/c: ok`,
      'scratch: ok',
      `remove ${dir}/a: ok`,
    ])
  })

  test('runExitHooks does them; new ones can be made afterwards', async () => {
    const source = `durable.command(note('1')); await runExitHooks(); say([notes(), durable.status().records]); durable.command(note('2'))
      await runExitHooks(); say(notes())`
    expect(await said(source)).toEqual([
      [['1'], 0],
      ['1', '2'],
    ])
  })
})

describe.concurrent('durable.socket', () => {
  const server = `
    const at = here + '/s'
    const record = durable.socket(at)
    const server = createServer().listen(at)
    await once(server, 'listening')
    record.made()
    say('ready')
    hold()\n`

  test.each(['SIGTERM', 'SIGKILL'] as const)('its path is gone after %s', async (signal) => {
    const program = start(prelude + server)
    await program.until('ready')
    program.kill(signal)
    const ended = await program.ended
    await poll(() => existsSync(join(ended.dir, 's')), limits).toBe(false)
    await expectOver(ended)
  })

  test('a server whose guardian was killed as well can listen again after recover()', async () => {
    const first = start(prelude + server)
    await first.until('ready')
    // The guardian first: it can't notice.
    for (const pid of guardiansOf(first)) process.kill(pid, 'SIGSTOP')
    const guardians = guardiansOf(first)
    first.kill('SIGKILL')
    await first.ended
    for (const pid of guardians) process.kill(pid, 'SIGKILL')
    expect(existsSync(join(first.dir, 's'))).toBe(true)
    const source = `
      process.chdir(${JSON.stringify(first.dir)})
      const at = process.cwd() + '/s'
      const planned = await durable.recover({ dryRun: true })
      const { done, left, failed } = await durable.recover()
      say([planned.done.map(({ kind }) => kind), done.map(({ kind, path }) => kind + ' ' + (path === at)), left, failed])
      const record = durable.socket(at)
      const server = createServer((socket) => socket.end('hello')).listen(at)
      await once(server, 'listening')
      record.made()
      say(String((await once(connect(at), 'data'))[0]))
      await new Promise((resolve) => server.close(resolve))`
    const options = { env: { EXODOS_STATE_DIR: join(first.dir, 'state') } }
    expect(await said(source, options)).toEqual([[['socket'], ['socket true'], [], []], 'hello'])
    await expectOver(first)
  })

  test('one that somebody else listens on meanwhile is left alone', async () => {
    const first = start(prelude + server)
    await first.until('ready')
    const second = start(`${prelude}
      process.chdir(${JSON.stringify(first.dir)})
      fs.rmSync('s')
      createServer().listen('s', () => say('ready'))`)
    await second.until('ready')
    first.kill('SIGKILL')
    await first.ended
    await expectOver(first)
    expect(existsSync(join(first.dir, 's'))).toBe(true)
    second.kill('SIGKILL')
    await second.ended
  })
})

/** Those that a program has started, the guardian among them. */
function guardiansOf({ child }: Program): number[] {
  return readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number)
}

describe.concurrent('durable.process', () => {
  /** The child's own child leaves its group, as daemons do. */
  const family = (options: string) => `
    const grandchild = "require('node:child_process').spawn('sleep', ['60'], { detached: true, stdio: 'ignore' })"
    const source = "const { pid } = " + grandchild + "; process.on('SIGTERM', () => {}); console.log(pid); setInterval(() => {}, 1000)"
    const env = { ...process.env, FAMILY: 'ours' + process.pid }
    const child = spawn(process.execPath, ['-e', source], { detached: true, env, stdio: ['ignore', 'pipe', 'ignore'] })
    durable.process(child, { timeout: 200, ${options} })
    const [grandchildPid] = await once(child.stdout, 'data')
    child.stdout.destroy()
    child.unref()
    fs.writeFileSync('pids', child.pid + ' ' + Number(grandchildPid))\n`
  const alive = (dir: string) =>
    readFileSync(join(dir, 'pids'), 'utf8')
      .split(' ')
      .map((pid) => {
        try {
          return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
        } catch {
          return false
        }
      })

  test.each(Object.keys(ways))('a child that does not hear, with all that has its cookie: %s', async (way) => {
    const ended = await run(prelude + family("group: true, cookie: 'FAMILY=ours' + process.pid") + ways[way])
    await poll(() => alive(ended.dir), limits).toEqual([false, false])
    await expectOver(ended)
  })

  test.each(Object.keys(ways))('alone, without its grandchild: %s', async (way) => {
    const ended = await run(prelude + family('') + ways[way])
    await poll(() => alive(ended.dir), limits).toEqual([false, true])
    await expectOver(ended)
    process.kill(Number(readFileSync(join(ended.dir, 'pids'), 'utf8').split(' ')[1]), 'SIGKILL')
  })

  test('the signal asked for; a child that has ended already is fine', async () => {
    const source = `
      const child = spawn(process.execPath, ['-e', "process.on('SIGUSR2', () => process.exit(7)); console.log(1); setInterval(() => {}, 1000)"])
      await once(child.stdout, 'data')
      const record = durable.process(child, { signal: 'SIGUSR2' })
      const exited = once(child, 'exit')
      await record.run()
      say((await exited)[0])
      const short = spawn('sleep', ['60'])
      const other = durable.process(short)
      short.kill('SIGKILL')
      await once(short, 'exit')
      await other.run()
      say(durable.status().records)`
    expect(await said(source)).toEqual([7, 0])
  })
})

describe.concurrent('durable.command', () => {
  test.each(Object.keys(ways))('cwd, and no environment but what was given and programs need: %s', async (way) => {
    const ended = await run(
      `${prelude}
      fs.mkdirSync('work')
      durable.command(['sh', '-c', 'pwd > out; env >> out; mv out ../notes'], { cwd: 'work', env: { GIVEN: 'a b' } })
      ${ways[way]}`,
      { env: { SECRET: 'no', NODE_OPTIONS: '--no-warnings' } },
    )
    await poll(() => notesIn(ended.dir).length, limits).toBeGreaterThan(0)
    const lines = notesIn(ended.dir)
    expect(lines[0]).toBe(join(ended.dir, 'work'))
    expect(lines).toContain('GIVEN=a b')
    expect(lines.filter((line) => /^(SECRET|NODE_OPTIONS)=/.test(line))).toEqual([])
    await expectOver(ended)
  })

  const failing: [what: string, call: string, error: RegExp][] = [
    ['an exit code', "durable.command(['sh', '-c', 'echo tried >> notes; exit 3'])", /ended with exit code 3/],
    ['a signal', "durable.command(['sh', '-c', 'echo tried >> notes; kill -9 $$'])", /ended with SIGKILL/],
    [
      'a timeout',
      "durable.command(['sh', '-c', 'echo tried >> notes; sleep 60'], { timeout: '100ms' })",
      /not done after 100 ms/,
    ],
  ]
  test.each(failing)('%s is in the report; the guardian tries 4 times more, and keeps it', async (_, call, error) => {
    const ended = await run(`${prelude}onExit(() => {})\n${call}`)
    expect(ended.code).toBe(1)
    expect(ended.stderr).toMatch(error)
    expect(ended.report?.hooks[0]).toMatchObject({ status: 'failed', error: { message: expect.stringMatching(error) } })
    await poll(() => failedIn(ended.dir).length, limits).toBe(1)
    expect(notesIn(ended.dir)).toEqual(Array(5).fill('tried'))
    const { lines } = await run(
      `${prelude}
      say(durable.status().failed)
      const { done, left, failed } = await durable.recover()
      say([done.length, left.length, failed.map(({ error }) => error)])`,
      { env: { EXODOS_STATE_DIR: join(ended.dir, 'state') } },
    )
    expect(lines.map((line) => JSON.parse(line))).toEqual([1, [0, 0, [expect.stringMatching(error)]]])
  })

  test('a program that is not there', async () => {
    const source = "durable.command(['/nowhere/program']).run().catch(({ code }) => { say(code); process.reallyExit(0) })"
    const ended = await run(prelude + source)
    expect(ended.stdout).toBe('"ENOENT"\n')
    await poll(() => failedIn(ended.dir).length, limits).toBe(1)
  })

  test('what it prints does not reach ours', async () => {
    expect(await run(`${prelude}durable.command(['sh', '-c', 'echo out; echo err >&2'])`)).toMatchObject({
      code: 0,
      stdout: '',
      stderr: '',
    })
  })
})

describe.concurrent('durable.call', () => {
  const module = `
    fs.writeFileSync('module.mjs', \`
      import { appendFileSync } from 'node:fs'
      const note = (...args) => appendFileSync('notes', JSON.stringify(args) + '\\\\n')
      export const write = note
      export default async (...args) => { await null; note('default', ...args) }
      export const reject = async () => { note('tried'); throw new Error('meant') }
      export const hang = () => { note('tried'); setInterval(() => {}, 1000) ; return new Promise(() => {}) }
      export const value = 1\`)
    fs.mkdirSync('node_modules/pack', { recursive: true })
    fs.writeFileSync('node_modules/pack/package.json', '{ "name": "pack", "exports": "./pack.mjs" }')
    fs.writeFileSync('node_modules/pack/pack.mjs', fs.readFileSync('module.mjs'))
    const url = new URL('module.mjs', import.meta.url)\n`
  const calls: [call: string, args: unknown[]][] = [
    [
      "durable.call({ module: url, export: 'write', args: [1, 'two', { three: [null, true] }] })",
      [1, 'two', { three: [null, true] }],
    ],
    ["durable.call({ module: url.href, export: 'write' })", []],
    ['durable.call({ module: url })', ['default']],
    ["durable.call({ module: 'pack', args: ['--eval', '-x', \"it's\"] })", ['default', '--eval', '-x', "it's"]],
    [
      "durable.call({ module: 'pack', export: 'write', args: ['\\n\\u{1f512}', 'x'.repeat(10_000)] })",
      ['\n\u{1f512}', 'x'.repeat(10_000)],
    ],
  ]
  test.each(calls.flatMap((each) => ['natural end', 'process.exit', 'SIGKILL'].map((way) => [way, ...each] as const)))(
    '%s: %s',
    async (way, call, args) => {
      const ended = await run(`${prelude}${module}${call}\n${ways[way]}`)
      await poll(() => notesIn(ended.dir).map((line) => JSON.parse(line)), limits).toEqual([args])
      await expectOver(ended)
    },
  )

  const failing: [call: string, error: RegExp, tries: number][] = [
    ["durable.call({ module: url, export: 'reject' })", /^meant$/, 5],
    ["durable.call({ module: url, export: 'hang', timeout: '1s' })", /^not done after 1000 ms$/, 5],
    ["durable.call({ module: url, export: 'missing' })", /^there is no function missing$/, 0],
    ["durable.call({ module: url, export: 'value' })", /^there is no function value$/, 0],
    ["durable.call({ module: 'no-such-package' })", /^Cannot find package 'no-such-package'/, 0],
  ]
  test.each(failing)('%s is reported, tried again, and kept', async (call, error, tries) => {
    const ended = await run(`${prelude}onExit(() => {})\n${module}${call}`)
    expect(ended.code).toBe(1)
    expect(ended.report?.hooks[0]).toMatchObject({ status: 'failed', error: { message: expect.stringMatching(error) } })
    await poll(() => failedIn(ended.dir).length, limits).toBe(1)
    expect(notesIn(ended.dir).length).toBe(tries)
  })
})

describe.concurrent('durable.configure and durable.status', () => {
  test.each(['process', 'power'])("durability '%s', a state directory of one's own", async (durability) => {
    const ended = await run(`${prelude}
      process.env.EXODOS_STATE_DIR = here + '/unused'
      durable.configure({ durability: '${durability}', stateDir: here + '/state' })
      for (let n = 0; n < 20; n++) durable.path(here + '/' + n)
      for (let n = 0; n < 20; n++) fs.writeFileSync(String(n), '')
      say([durable.status(), fs.existsSync('unused')])
      ${ways.SIGKILL}`)
    const status = { guarded: true, stateDir: `${ended.dir}/state`, records: 20, failed: 0 }
    expect(JSON.parse(ended.stdout)).toEqual([status, false])
    await poll(() => readdirSync(ended.dir).filter((name) => /^\d+$/.test(name)), limits).toEqual([])
    await expectOver(ended)
  })

  test.each(["durable.path(here + '/a').cancel()", 'durable.status()'])('configured after %s: refused', async (before) => {
    const source = `${before}\ntry { durable.configure({ durability: 'power' }) } catch (error) { say(error.code) }`
    expect(await said(source)).toEqual(['ERR_EXODOS_CONFIGURED'])
  })

  test('configured twice before the first record: the later holds', async () => {
    const source = `
      durable.configure({ stateDir: here + '/one' })
      durable.configure({ stateDir: here + '/state', durability: 'power' })
      say(path.basename(durable.status().stateDir))`
    expect(await said(source)).toEqual(['state'])
  })
})
