import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { type Ended, node, type ProgramOptions, prelude, run, runAndKill, start } from './support/program.js'
import { isAlive, main } from './support/supervise.js'

vi.setConfig({ maxConcurrency: 3 })

/** What each runtime does, a row of docs/bun-and-deno.md each: the page is checked against this table, too. */
interface Row {
  /** The first cell. */
  name: string
  source: string
  /** What is sent once its word is on stdout. */
  signals?: [word: string, signal: NodeJS.Signals][]
  /** `exodos/register` comes first. */
  register?: true
  /** Options of the `exodos run` that it is under. */
  under?: string[]
  /** Looked for on stderr, or waited for after the end. */
  told?: RegExp
  clean?: (ended: Ended) => boolean
  /** What is printed and how it ends, with `told` or `clean`: where the cell says "yes". */
  holds: string
  /** The cell, and what happens at present; that it has come to hold is never a failure. */
  bun?: Instead
  deno?: Instead
}
type Instead = [cell: string, seen: string | RegExp]

const directory = fileURLToPath(new URL('../../../node_modules/.cache/runtimes/', import.meta.url))
const register = fileURLToPath(new URL('../dist/register.js', import.meta.url))
const binary = (name: string) => `${directory}node_modules/.bin/${name}`
const runtimes = {
  Node: { words: [node], preload: '--import', isHere: existsSync(binary('bun')) || existsSync(binary('deno')) },
  Bun: { words: [binary('bun')], preload: '--preload', isHere: existsSync(binary('bun')) },
  Deno: { words: [binary('deno'), 'run', '-A'], preload: '--import', isHere: existsSync(binary('deno')) },
}
type Runtime = keyof typeof runtimes
/** Deno keeps what it has compiled, and asks for a newer version of itself. */
const env = { DENO_DIR: `${directory}deno`, DENO_NO_UPDATE_CHECK: '1', EXODOS_REPORT: '' }

const hooks = `onExit(async () => { await sleep(20); say('async') }); onExit(() => say('sync'));`
const later = (code: string) => `${hooks} hold(); setTimeout(() => { ${code} }, 1)`
const waiting = `hold(); say('ready')`
const spinning = `setTimeout(() => { say('ready'); for (;;); }, 1)`
const guest = `import { onExit as ofLibrary } from 'exodos/lib'; ${hooks.replaceAll('onExit', 'ofLibrary')}`
const big = `process.stdout.write('x'.repeat(2 ** 20 - 1) + '\\n')`
const temp = `import { tempDir } from 'exodos/temp'; import { durable } from 'exodos/durable'
  tempDir({ parent: process.cwd(), prefix: 'left' });`
const locking = `import { lockFile } from 'exodos/lock'; await lockFile('left');`
const family = (inParent: string, inChild: string) => `
  import { fork, spawn } from 'node:child_process'; import { fileURLToPath } from 'node:url'
  if (process.argv[2]) {
    onExit(async () => { await sleep(5); say('hook') })
    ${inChild}
    process.send('go')
  } else {
    const child = fork(fileURLToPath(import.meta.url), ['child'])
    child.on('message', () => { ${inParent} })
    child.on('exit', (code, signal) => say('child: ' + (signal ?? code)))
  }`
const thread = (inMain: string, inWorker: string) => `
  import { Worker, isMainThread, parentPort } from 'node:worker_threads'
  if (isMainThread) {
    const worker = new Worker(new URL(import.meta.url))
    worker.on('error', () => {}).on('exit', (code) => say('worker: ' + code)).on('message', () => { ${inMain} })
  } else {
    ${hooks} ${inWorker}
  }`
/** Its pid is in a file; what it has to say goes where it is told to. */
const child = (script: string, stderr = `'ignore'`) => `
  import { spawn } from 'node:child_process'; import { once } from 'node:events'
  const child = spawn('sh', ['-c', '${script}'], { stdio: ['ignore', 'pipe', ${stderr}] }); writeFileSync('pid', String(child.pid));`
const isChildGone = ({ dir }: Ended) => !isAlive(pidIn(dir))
const nothingLeft = ({ dir }: Ended) => !readdirSync(dir).some((name) => name.startsWith('left'))
const sigterm: Row['signals'] = [['ready', 'SIGTERM']]
const sigkill: Row['signals'] = [['ready', 'SIGKILL']]

const table: Row[] = [
  { name: 'natural end, `process.exitCode`', source: `${hooks} process.exitCode = 3`, holds: 'sync async → 3' },
  { name: '`exit(3)`', source: later('exit(3)'), holds: 'sync async → 3' },
  {
    name: '`process.exit(3)`, synchronous hooks',
    source: `onExit(() => say('sync')); hold(); process.exit(3)`,
    holds: 'sync → 3',
  },
  {
    name: '`process.exit(3)`, asynchronous hooks',
    source: later('process.exit(3)'),
    holds: 'sync async → 3',
  },
  {
    name: "`exit` imported from 'node:process'",
    source: `import { exit as leave } from 'node:process'; ${later('leave(3)')}`,
    holds: 'sync async → 3',
    bun: ['synchronous hooks', 'sync → 3'],
    deno: ['synchronous hooks', 'sync → 3'],
  },
  {
    name: '`process.exit(4)` in a hook',
    source: `onExit(() => say('older')); onExit(() => process.exit(4))`,
    holds: 'older → 4',
  },
  {
    name: 'uncaught error',
    source: later(`throw new Error('boom')`),
    holds: 'sync async → 1',
  },
  {
    name: 'unhandled rejection',
    source: later(`Promise.reject(new Error('boom'))`),
    holds: 'sync async → 1',
  },
  {
    name: 'errors that the application handles itself',
    source: `${hooks} process.on('uncaughtException', () => say('handled')); setTimeout(() => { throw new Error('boom') }, 1)`,
    holds: 'handled sync async → 0',
  },
  {
    name: "`process.exit(5)` in the application's own listener for them",
    source: `process.on('uncaughtException', () => process.exit(5)); ${later(`throw new Error('boom')`)}`,
    holds: 'sync async → 5',
    bun: ['synchronous hooks, code 7', 'sync → 7'],
  },
  {
    name: '… that throws',
    source: `process.on('uncaughtException', () => { throw new Error('bang') }); ${later(`throw new Error('boom')`)}`,
    holds: 'sync async → 7',
    bun: ['synchronous hooks', 'sync → 7'],
    deno: ['no hooks, code 1', ' → 1'],
  },
  {
    name: "uncaught error, libraries' hooks alone: synchronous ones",
    source: `${guest} setTimeout(() => { throw new Error('boom') }, 1)`,
    holds: 'sync → 1',
    deno: ['no hooks', ' → 1'],
  },
  {
    name: 'a top-level await that never settles',
    source: `${hooks} await new Promise(() => {})`,
    holds: 'sync async → 13',
    bun: ['the process stays', ' → still running'],
    deno: ['the process stays', ' → still running'],
  },
  ...(['SIGTERM', 'SIGINT', 'SIGHUP'] as const).map((signal) => ({
    name: `${signal}: death by it`,
    source: `${hooks} ${waiting}`,
    signals: [['ready', signal]] satisfies Row['signals'],
    holds: `ready sync async → ${signal}`,
  })),
  {
    name: 'the second signal forces, the third kills',
    source: `configure({ grace: '60s' })
      onExit((ctx) => new Promise(() => {
        setTimeout(() => say('second'), 550)
        ctx.signal.addEventListener('abort', () => setTimeout(() => say('third'), 550))
      }), { phase: 'drain' })
      ${waiting}`,
    signals: [
      ['ready', 'SIGTERM'],
      ['second', 'SIGINT'],
      ['third', 'SIGHUP'],
    ],
    holds: 'ready second third → SIGHUP',
  },
  {
    name: 'phases, scopes, `closeOnExit`, `finalize`, in order',
    source: `onExit(() => say('flush'), { phase: 'flush' })
      import { closeOnExit, finalize, scope } from 'exodos'
      const job = scope(); job.defer(() => say('deferred')); job.use({ close: async () => { await sleep(1); say('used') } })
      closeOnExit({ close: async () => say('closed') }); finalize({}, () => say('finalized'))
      onExit(() => say('drain'), { phase: 'drain' }); exit()`,
    holds: 'drain finalized closed used deferred flush → 0',
  },
  {
    name: "a hook's timeout: the next one runs, 0 becomes 1",
    source: `onExit(() => say('older')); onExit(() => new Promise(() => {}), { name: 'hung', timeout: '100ms' })`,
    told: /overdue 1\d\d ms {2}release hung/,
    holds: 'older → 1, told',
  },
  {
    name: 'a nameless hook is named by its place',
    source: `onExit(() => { throw new Error('bad') })`,
    told: /failed .*program\.mjs:\d/,
    holds: ' → 1, told',
    bun: ['`(anonymous)`', ' → 1'],
  },
  {
    name: 'hooks keep the async context of their registration',
    source: `import { AsyncLocalStorage } from 'node:async_hooks'; const store = new AsyncLocalStorage()
      store.run('mine', () => onExit(async () => { await sleep(1); say(store.getStore()) })); store.run('other', () => exit())`,
    holds: 'mine → 0',
  },
  { name: '`runExitHooks()`', source: `${hooks} await runExitHooks(); say('on')`, holds: 'sync async on → 0' },
  { name: '1 MiB of output to a slow reader, natural end', source: `onExit(() => {}); ${big}`, holds: '1048576 → 0' },
  {
    name: '1 MiB of output to a slow reader, `exit()`',
    source: `onExit(() => {}); ${big}; exit()`,
    holds: '1048576 → 0',
    bun: ['what the pipe holds', /^\d+ → 0$/],
  },
  {
    name: "`exodos/register`: libraries' hooks get the full run",
    source: `${guest} ${waiting}`,
    register: true,
    signals: sigterm,
    holds: 'ready sync async → SIGTERM',
  },
  {
    name: '`exodos run`: signals are passed on, it ends as the program did',
    source: `${hooks} ${waiting}`,
    under: [],
    signals: sigterm,
    holds: 'ready sync async → SIGTERM',
  },
  {
    name: '`exodos run`: what is left behind is ended',
    source: `import { spawnSync } from 'node:child_process'
      spawnSync('sh', ['-c', 'sleep 60 & echo $! > pid'], { stdio: 'ignore' })`,
    under: [],
    told: /left behind: PID \d+/,
    clean: isChildGone,
    holds: ' → 0, told, clean',
  },
  {
    name: '`exodos run`: programs are adopted without a change',
    source: `${guest} process.exit(3)`,
    under: [],
    holds: 'sync async → 3',
    bun: ['no', 'sync → 3'],
    deno: ['no', 'sync → 3'],
  },
  {
    name: '`exodos run`: a blocked loop is freed',
    source: `${hooks} ${spinning}`,
    under: ['--grace', '1500ms', '--kill-after', '1100ms'],
    signals: sigterm,
    holds: 'ready sync async → SIGTERM',
    bun: ['killed at the end of the ladder', 'ready → SIGKILL'],
    deno: ['killed at the end of the ladder', 'ready → SIGKILL'],
  },
  {
    name: 'the watchdog says what hangs and where, and kills',
    source: `configure({ grace: '300ms', watchdog: 'always' }); onExit(() => { for (;;); }, { name: 'spins' }); ${waiting}`,
    signals: sigterm,
    told: /in release hook spins\n +at .*program\.mjs:\d+.*\nexodos: killed/,
    holds: 'ready → SIGKILL, told',
    bun: ['not where', 'ready → SIGKILL'],
    deno: ['not where', 'ready → SIGKILL'],
  },
  {
    name: '`exodos/temp` and `process.exit()`',
    source: `${temp} hold(); process.exit(3)`,
    clean: nothingLeft,
    holds: ' → 3, clean',
  },
  {
    name: '`exodos/temp` after SIGKILL',
    source: `${temp} ${waiting}`,
    signals: sigkill,
    clean: nothingLeft,
    holds: 'ready → SIGKILL, clean',
    deno: ['at the next start on Node', 'ready → SIGKILL'],
  },
  {
    name: '`durable.command`, `durable.process` after SIGKILL',
    source: `${temp} ${child('exec sleep 60')} durable.process(child)
      writeFileSync('left', ''); durable.command(['rm', process.cwd() + '/left']); ${waiting}`,
    signals: sigkill,
    clean: (ended) => nothingLeft(ended) && isChildGone(ended),
    holds: 'ready → SIGKILL, clean',
    deno: ['at the next start on Node', 'ready → SIGKILL'],
  },
  {
    name: '`durable.call` after SIGKILL',
    source: `${temp} writeFileSync('left', ''); writeFileSync('rm.mjs', "export { rmSync as rm } from 'node:fs'")
      const call = { module: new URL('rm.mjs', import.meta.url), export: 'rm', args: [process.cwd() + '/left'] }
      try { durable.call(call) } catch (error) { say(error.code) } ${waiting}`,
    signals: sigkill,
    clean: nothingLeft,
    holds: 'ready → SIGKILL, clean',
    deno: ['throws `ERR_EXODOS_RECORD`', 'ERR_EXODOS_RECORD ready → SIGKILL'],
  },
  {
    name: '`durable.status().guarded`',
    source: `${temp} say(durable.status().guarded)`,
    holds: 'true → 0',
    deno: ['false', 'false → 0'],
  },
  {
    name: '`exodos/lock`: held, refused, given back',
    source: `${locking} await lockFile('left').catch((error) => say(error.code))`,
    clean: nothingLeft,
    holds: 'ERR_EXODOS_LOCKED → 0, clean',
  },
  {
    name: '`exodos/lock` after SIGKILL: given back',
    source: `${locking} ${waiting}`,
    signals: sigkill,
    clean: nothingLeft,
    holds: 'ready → SIGKILL, clean',
    deno: ['by the next who wants it', 'ready → SIGKILL'],
  },
  {
    name: '`exodos/lock` after SIGKILL: taken over',
    source: `import { lockFile } from 'exodos/lock'; import { spawn } from 'node:child_process'; import { once } from 'node:events'
      import { fileURLToPath } from 'node:url'
      if (process.argv[2]) { await lockFile('left'); ${waiting} }
      else {
        const child = spawn(process.execPath, [fileURLToPath(import.meta.url), 'again'], { stdio: ['ignore', 'pipe', 'inherit'] })
        await once(child.stdout, 'data')
        await lockFile('left').catch((error) => say(error.code))
        child.kill('SIGKILL')
        await lockFile('left', { wait: '10s' }); say('taken')
      }`,
    clean: nothingLeft,
    holds: 'ERR_EXODOS_LOCKED taken → 0, clean',
  },
  {
    name: 'a forked child whose parent is gone runs its hooks and leaves',
    source: family(`setInterval(() => {}, 60_000); process.kill(process.pid, 'SIGKILL')`, 'hold()'),
    holds: 'hook → SIGKILL',
  },
  { name: "… isn't held by its hooks", source: family('', ''), holds: 'hook child: 0 → 0' },
  {
    name: '… that lets go of its parent goes on',
    source: family('', `setTimeout(() => { process.disconnect(); setTimeout(() => say('on'), 20) }, 20);`),
    holds: 'on hook child: 0 → 0',
  },
  {
    name: '… that listens for messages stays',
    source: family(
      `setTimeout(() => { if (child.connected) child.send('') }, 100)`,
      `setTimeout(() => process.on('message', () => { say('message'); process.disconnect() }), 1);`,
    ),
    holds: 'message hook child: 0 → 0',
  },
  {
    name: 'worker thread: natural end',
    source: thread('', ''),
    holds: 'sync async worker: 0 → 0',
    deno: ['synchronous hooks', 'sync worker: 0 → 0'],
  },
  {
    name: 'worker thread: `process.exit(3)` in it',
    source: thread('', 'hold(); setTimeout(() => process.exit(3), 1)'),
    holds: 'sync async worker: 3 → 0',
  },
  {
    name: 'worker thread: uncaught error',
    source: thread('', `hold(); setTimeout(() => { throw new Error('boom') }, 1)`),
    holds: 'sync async worker: 1 → 0',
  },
  {
    name: 'worker thread: `worker.terminate()`',
    source: thread('worker.terminate()', `hold(); parentPort.postMessage('')`),
    holds: 'sync async worker: 1 → 0',
    deno: ['yes, but for its first moments', 'worker: 1 → 0'],
  },
  {
    name: 'worker thread: the main thread leaves',
    source: thread(`onExit(() => say('main')); exit(4)`, `hold(); parentPort.postMessage('')`),
    holds: 'main sync async worker: 1 → 4',
    deno: ['yes, but for its first moments', 'main → 4'],
  },
  {
    name: '`stopOnExit(child)`: stopped where it stands in the order',
    source: `import { stopOnExit } from 'exodos/tree'
      ${child('trap "echo asked >&2; exit" TERM; echo up; while :; do sleep 0.02; done', '1')}
      onExit(() => say('older')); stopOnExit(child); onExit(() => say('newer')); await once(child.stdout, 'data'); exit(3)`,
    clean: isChildGone,
    holds: 'newer asked older → 3, clean',
  },
  {
    name: "… that doesn't listen: killed",
    source: `import { stopOnExit } from 'exodos/tree'; configure({ grace: '600ms' })
      ${child('trap "" TERM; echo up; while :; do sleep 0.02; done')} stopOnExit(child); await once(child.stdout, 'data'); exit(3)`,
    clean: isChildGone,
    told: /did not end in time: it was killed/,
    holds: ' → 3, told, clean',
  },
  {
    name: '… after SIGKILL: stopped by the guardian',
    source: `import { stopOnExit } from 'exodos/tree'; ${child('exec sleep 60')} stopOnExit(child); ${waiting}`,
    signals: sigkill,
    clean: isChildGone,
    holds: 'ready → SIGKILL, clean',
    deno: ['it stays', 'ready → SIGKILL'],
  },
  {
    name: '`exodos/register`: child processes are stopped',
    source: `${child('exec sleep 60')} child.unref(); exit(3)`,
    register: true,
    clean: isChildGone,
    holds: ' → 3, clean',
    bun: ['no', ' → 3'],
  },
]

function command({ register: registers, under, source }: Row, runtime: Runtime, file: string): string[] {
  const { words, preload } = runtimes[runtime]
  const own = [...words, ...(registers ? [preload, register] : []), file]
  if (under) return [node, main, 'run', ...under, '--', ...own]
  return source.includes(big) ? ['sh', '-c', '"$@" | { sleep 0.3; wc -c; }', 'sh', ...own] : own
}

/** What is printed and how it ends. What is known not to come is waited for a moment only. */
async function observe(row: Row, runtime: Runtime, instead: string): Promise<string> {
  const program = start(`import { writeFileSync } from 'node:fs'; ${prelude} ${row.source}`, {
    env,
    command: (file) => command(row, runtime, file),
  })
  for (const [word, signal] of row.signals ?? []) {
    await program.until(word)
    program.kill(signal)
  }
  const ended = await Promise.race([program.ended, ...(instead.endsWith('running') ? [sleep(700)] : [])])
  const printed = program.printed().trim().replaceAll('\n', ' ')
  if (!ended) return `${printed} → still running`
  const told = row.told?.test(ended.stderr) ? ', told' : ''
  const isClean = row.clean && (await comes(() => row.clean?.(ended), instead ? 300 : 10_000))
  // What a runtime leaves behind must not stay.
  if (existsSync(`${ended.dir}/pid`) && isAlive(pidIn(ended.dir))) process.kill(pidIn(ended.dir), 'SIGKILL')
  return `${printed} → ${ended.signal ?? ended.code}${told}${isClean ? ', clean' : ''}`
}

const pidIn = (dir: string) => Number(readFileSync(`${dir}/pid`, 'utf8'))

async function comes(condition: () => unknown, patience: number): Promise<boolean> {
  const end = performance.now() + patience
  while (!condition() && performance.now() < end) await sleep(20)
  return Boolean(condition())
}

const better: string[] = []
afterAll(() => {
  if (better.length > 0) console.log(`holds now, other than the page says:\n${better.join('\n')}`)
})

describe.concurrent.each(Object.keys(runtimes) as Runtime[])('%s', (runtime) => {
  // What holds on Node is what the others are held against; other tests show it.
  if (!runtimes[runtime].isHere || (!runtimes.Bun.isHere && !runtimes.Deno.isHere)) {
    test.skip('needs the npm packages bun and deno: npm run test:runtimes installs them')
    return
  }
  test.each(table)('$name', async (row) => {
    const [cell = '', instead] = (runtime !== 'Node' && row[runtime === 'Bun' ? 'bun' : 'deno']) || []
    const seen = await observe(row, runtime, String(instead ?? ''))
    const allowed = instead instanceof RegExp ? expect.stringMatching(instead) : instead
    expect([row.holds, allowed]).toContainEqual(seen)
    if (cell !== '' && !cell.startsWith('yes') && seen === row.holds) better.push(`${runtime}: ${row.name}`)
  })
})

describe.skipIf(!runtimes.Deno.isHere).concurrent('Deno alone', () => {
  const deno = (...words: string[]): ProgramOptions => ({ env, command: (file) => [binary('deno'), 'run', ...words, file] })

  test('what SIGKILL has left behind is removed at the next start on Node', async () => {
    const killed = await runAndKill(`${prelude} ${temp} ${waiting}`, 'SIGKILL', deno('-A'))
    const state = { EXODOS_STATE_DIR: `${killed.dir}/state` }
    const next = start(`${prelude} ${temp} ${waiting}`, { env: state })
    await next.until('ready')
    expect(await comes(() => nothingLeft(killed), 10_000)).toBe(true)
    next.kill('SIGTERM')
    await next.ended
  })

  test('hooks need --allow-env, and nothing else', async () => {
    const source = `import { onExit } from 'exodos'; onExit(async () => console.log('hook')); console.log('ready'); setTimeout(() => {}, 60_000)`
    expect((await runAndKill(source, 'SIGTERM', deno('--allow-env'))).lines).toEqual(['ready', 'hook'])
    expect((await run(source, deno())).stderr).toContain('--allow-env')
  })
})

test('docs/bun-and-deno.md says the same', () => {
  const page = readFileSync(new URL('../../../docs/bun-and-deno.md', import.meta.url), 'utf8')
  const rows = table.map(({ name, bun, deno }) => `| ${name} | yes | ${bun?.[0] ?? 'yes'} | ${deno?.[0] ?? 'yes'} |`)
  expect(page.split('\n').filter((line) => /^\| .* \| yes \| /.test(line))).toEqual(rows)
})
