import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test, vi } from 'vitest'
import type { RunReport } from '../src/supervisor/supervise.js'
import { connect } from '../src/supervisor/websocket.js'
import type { Stuck } from '../src/watchdog/stuck.js'
import { type Ended, node, type ProgramOptions, prelude, run, start } from './support/program.js'

vi.setConfig({ maxConcurrency: 3 })

const bin = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const supervised = (...options: string[]) => ({
  command: (file: string) => [node, bin, 'run', '--report', 'run.json', ...options, '--', node, file],
})
const runReport = ({ dir }: Ended): RunReport => JSON.parse(readFileSync(join(dir, 'run.json'), 'utf8'))
/** On a busy machine: a bound, not a speed. */
const MARGIN = 2000

/**
 * What a thread can be stuck in, each on a line of its own, so that the place is known. Without indentation Node 26 has a
 * faster way to make JSON, which doesn't answer the inspector: it counts as native code.
 */
const kinds = `
import { execSync } from 'node:child_process'
import { pbkdf2Sync } from 'node:crypto'
const bytes = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4, 108, 111, 111, 112, 0, 0, 10, 9, 1, 7, 0, 3, 64, 12, 0, 11, 11]
const wasmLoop = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(bytes))).exports.loop
const huge = (length) => Array.from({ length }, (_, i) => ({ a: i, b: 'x' + i, c: [i] }))
const kinds = {
  'for(;;)'() { say('ready'); for (;;); },
  'regular expression'() { say('ready'); /^(a+)+$/.test('a'.repeat(40) + 'b') },
  'microtask flood'() { say('ready'); const again = () => Promise.resolve().then(again); again() },
  'wasm loop'() { say('ready'); wasmLoop() },
  'Atomics.wait'() { say('ready'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) },
  execSync() { say('ready'); execSync('trap "" TERM; sleep 20') },
  pbkdf2Sync() { say('ready'); pbkdf2Sync('a', 'b', 1e8, 64, 'sha512') },
  JSON() { const object = huge(5e4); say('ready'); for (let i = 0; i < 1e5; i++) JSON.stringify(object, null, 1) },
}`
const KINDS = [...kinds.matchAll(/^ {2}'?(.*?)'?\(\) \{/gm)].map(([, kind]) => kind as string)
const NATIVE = ['execSync', 'pbkdf2Sync']
const lineOf = (source: string, text: string) => source.slice(0, source.indexOf(text)).split('\n').length
const placeOf = (source: string, kind: string) => `program.mjs:${lineOf(source, 'const kinds = {') + 1 + KINDS.indexOf(kind)}`
/** The first place in the program of a stack that was reported, without the column. */
function reportedIn({ where, stack = [] }: Partial<Stuck> = {}): string {
  const line = stack.find((text) => text.includes('program.mjs')) ?? stack[0] ?? ''
  return where === 'native' ? 'native code' : (/([^/]+:\d+):\d+\)?$/.exec(line)?.[1] ?? 'nothing')
}

/** Runs all, so many at a time, and returns the results in their order. */
async function lanes<T, R>(jobs: readonly T[], atOnce: number, one: (job: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  let next = 0
  const lane = async () => {
    for (let i = next++; i < jobs.length; i = next++) results[i] = await one(jobs[i] as T)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return results
}

/** Runs a program, sends it a signal once it has printed the text, and measures what it takes from then to its end. */
async function timed(source: string, text: string, signal: NodeJS.Signals | 0, options: ProgramOptions) {
  const program = start(source, { timeout: 25_000, ...options })
  await program.until(text)
  const began = performance.now()
  program.child.kill(signal)
  const ended = await program.ended
  return { ...ended, after: performance.now() - began }
}

/** A hook that hangs, after one that has made the run asynchronous; the program leaves by itself. */
const inHook = (body: string, options = '', policy = "grace: '1s'") => `${prelude}${kinds}
configure({ ${policy} })
onExit(() => say('rest'), { name: 'rest', priority: -1, phase: 'flush' })
onExit(async (ctx) => { ctx.status('half done'); ${body} }, { name: 'hangs', ${options} })
onExit(async () => { await sleep(1) }, { name: 'slow', phase: 'announce' })
setTimeout(() => process.exit(3), 1)`

/** A shell prints the status that it sees. */
const inShell = { command: (file: string) => ['sh', '-c', '"$@"; echo "status $?"', 'sh', node, file] }

describe.concurrent('the watchdog', () => {
  test.each([
    ['E25 an endless loop', 'for(;;)', 'drain'],
    ['E26 a catastrophic regular expression', 'regular expression', 'save'],
    ['E27 execSync', 'execSync', 'release'],
    ['E27 Atomics.wait', 'Atomics.wait', 'flush'],
  ])('%s in a hook: named with its place, 137 a second after the grace period', async (_, kind, phase) => {
    const source = inHook(`kinds['${kind}'](); await sleep(1)`, `phase: '${phase}'`)
    const { stderr, lines, after } = await timed(source, 'ready', 0, { ...inShell, env: { EXODOS_DEBUG: '1' } })
    expect(lines).toEqual(['ready', 'status 137'])
    const [named, place] = stderr.split('\n')
    const site = `program.mjs:${lineOf(source, 'onExit(async (ctx)')}`
    expect(named).toMatch(/^exodos: the event loop has been blocked for \d\.\d s in /)
    expect(named).toMatch(new RegExp(`in ${phase} hook hangs \\(registered at .*${site}:\\d+; status: half done\\)$`))
    expect(place).toContain(kind === 'execSync' ? 'in native code' : placeOf(source, kind))
    expect(stderr).toMatch(/^exodos: killed, because the process had not ended after 2\.\d s, in .* hook hangs/m)
    expect(after).toBeGreaterThan(1500)
    expect(after).toBeLessThan(2000 + MARGIN)
  })

  const spinInExit = (policy: string) => `${prelude}${kinds}
    configure({ grace: '1s', ${policy} })
    onExit(() => say('hook'))
    process.on('exit', () => { kinds['for(;;)']() })
    process.exit(0)`
  test.each([
    ["watchdog: 'always'", spinInExit("watchdog: 'always'"), inShell, ['status 137']],
    ['exodos run', spinInExit(''), supervised('--grace', '1s', '--kill-after', '5s'), []],
  ])("E28 a spin in a listener of 'exit', %s: named with its place, 137", async (_, source, options, last) => {
    const { signal, lines, stderr } = await run(source, options)
    expect({ signal, lines }).toEqual({ signal: last.length ? null : 'SIGKILL', lines: ['hook', 'ready', ...last] })
    expect(stderr).toMatch(/^exodos: the event loop has been blocked for \d\.\d s in leaving: listeners of 'exit'/)
    expect(stderr).toContain(placeOf(source, 'for(;;)'))
    expect(stderr).toMatch(/^exodos: killed, because the process had not ended after 2\.\d s, in leaving/m)
  })

  const spin = (ms: number) => `const end = performance.now() + ${ms}; while (performance.now() < end);`

  test.each([
    ['for(;;)', spin(1500), /^ {4}at .*program\.mjs/m],
    // The watchdog waits for a second before it says so.
    ['execSync', "execSync('sleep 3')", /^ {4}in native code/m],
  ])('%s that comes back: told, its time is charged, the exit is normal', async (_, body, where) => {
    const source = inHook(body, '', "grace: '10s'").replace("() => say('rest')", "async () => { await sleep(300); say('rest') }")
    const { code, stderr, lines, report } = await run(source)
    expect(stderr).toMatch(/^exodos: the event loop has been blocked for \d\.\d s in release hook hangs \(status: half done\)$/m)
    expect(stderr).toMatch(where)
    expect(stderr).toMatch(/^exodos: the event loop turns again after \d\.\d s$/m)
    expect(stderr).not.toMatch(/killed/)
    expect({ code, lines }).toEqual({ code: 3, lines: ['rest'] })
    expect(report?.duration).toBeGreaterThan(1000)
  })

  const asynchronous = 'async () => { await sleep(1) }'
  const longer = `() => { ${spin(2300)} }`
  const rows: [what: string, policy: string, hooks: string[], leave: string, threads: number][] = [
    ['synchronous hooks, natural end', '', ['() => {}'], '', 0],
    ['synchronous hooks, process.exit', '', ['() => {}'], 'process.exit()', 0],
    ['synchronous hooks, SIGTERM', '', ['() => {}'], "process.kill(process.pid, 'SIGTERM'); hold()", 0],
    ['a synchronous hook that takes longer than all time', '', [longer], '', 0],
    ["an asynchronous hook, one that takes longer, watchdog: 'never'", "watchdog: 'never'", [longer, asynchronous], '', 0],
    ['an asynchronous hook', '', [asynchronous], '', 1],
    ["synchronous hooks, watchdog: 'always'", "watchdog: 'always'", ['() => {}'], '', 1],
  ]
  test('a thread is started when a run turns asynchronous, or always, or never; what ends well is not mentioned', async () => {
    const seen = await lanes(rows, 2, async ([what, policy, hooks, leave]) => {
      const { lines, stderr } = await run(`${prelude}
        import { readdirSync } from 'node:fs'
        const threads = () => readdirSync('/proc/self/task').length
        const before = threads()
        process.on('worker', () => say('worker'))
        process.on('exit', () => say('threads ' + (threads() - before)))
        configure({ grace: '1s', ${policy} })
        ${hooks.map((hook) => `onExit(${hook})`).join('\n')}
        ${leave}`)
      return [what, lines, /blocked|killed/.test(stderr)]
    })
    expect(seen).toEqual(rows.map(([what, , , , n]) => [what, n ? ['worker', 'threads 1'] : ['threads 0'], false]))
  })
})

test.concurrent('a program at a breakpoint in a hook, alone or under exodos run: not killed, and after that it leaves as ever', async () => {
  const source = `${inHook("debugger; say('resumed')").replace(/^setTimeout.*/m, 'hold()')}
    import { url } from 'node:inspector'
    import { writeFileSync } from 'node:fs'
    writeFileSync('url', url())
    say('ready')`
  const commands = [[node], [node, bin, 'run', '--grace', '1s', '--kill-after', '1s', '--', node]]
  await lanes(commands, 2, async (command) => {
    const program = start(source, { command: (file) => [...command, '--inspect=0', file] })
    const waits = new Promise<void>((resolve) => {
      program.child.stderr?.on('data', (data) => String(data).includes('Waiting for the debugger') && resolve())
    })
    await program.until('ready')
    const inspector = await connect(readFileSync(join(program.dir, 'url'), 'utf8'), 5000)
    const paused = new Promise<void>((resolve) => {
      inspector.onText((text) => JSON.parse(text).method === 'Debugger.paused' && resolve())
    })
    inspector.send('{"id":1,"method":"Debugger.enable"}')
    program.kill('SIGTERM')
    await paused
    // Longer than the grace period and all that is added to it.
    await sleep(3500)
    expect(program.child).toMatchObject({ exitCode: null, signalCode: null })
    inspector.send('{"id":2,"method":"Debugger.resume"}')
    await waits
    inspector.close()
    const { lines, stderr } = await program.ended
    // By which signal isn't looked at: Node crashes now and then when a debugger disconnects while the process leaves.
    expect(lines).toEqual(['ready', 'resumed', 'rest'])
    expect(stderr).not.toMatch(/killed|freed/)
  })
})

/** What was measured, printed for `EXODOS_TABLE=1`. */
const table: string[] = ['| stuck in | where | reported | outcome | ms after SIGTERM |', '|---|---|---|---|---|']
afterAll(() => {
  if (process.env.EXODOS_TABLE) console.log(table.join('\n'))
})

describe('exodos run', () => {
  const PLACES: Record<string, string> = {
    http: `createServer((request, response) => (request.url === '/stuck' ? stuck() : setTimeout(() => response.end('answered'), 100)))
      .listen(0, '127.0.0.1', async function () {
        const url = 'http://127.0.0.1:' + this.address().port
        setTimeout(() => fetch(url + '/stuck').catch(() => {}), 50)
        say(await (await fetch(url)).text())
      })`,
    timer: 'setTimeout(stuck, 10)',
    immediate: 'setImmediate(stuck)',
    promise: 'Promise.resolve().then(stuck)',
    nextTick: 'process.nextTick(stuck)',
    'top level': 'stuck()',
  }

  test.each(KINDS)('C42 blocked by %s, wherever it is, then SIGTERM: bounded; its hooks run if it can be freed', async (kind) => {
    // What can be freed is, and then waits for nothing: on a starved machine to free it takes its time.
    const grace = NATIVE.includes(kind) ? 2 : 5
    const seen = await lanes(
      Object.entries(PLACES),
      ['execSync', 'Atomics.wait'].includes(kind) ? 6 : 3,
      async ([place, how]) => {
        const source = `${prelude}${kinds}
import { createServer } from 'node:http'
onExit(async () => { await sleep(50); say('saved') }, { name: 'saves' })
hold()
const stuck = () => kinds['${kind}']()
${how}`
        const ended = await timed(source, 'ready', 'SIGTERM', supervised('--grace', `${grace}s`, '--kill-after', '1s'))
        const { signal, lines, stderr, after } = ended
        const [blocked] = runReport(ended).blocked
        const saved = lines.includes('saved')
        const outcome = `${blocked?.freed ? 'freed' : 'not freed'}, ${saved ? 'hooks ran' : 'no hooks'}, ${signal}`
        table.push(`| ${kind} | ${place} | ${reportedIn(blocked)} | ${outcome} | ${Math.round(after)} |`)
        return {
          place,
          reported: reportedIn(blocked).replace(placeOf(source, kind), 'its place'),
          outcome,
          isTold: stderr.includes(blocked?.freed ? 'it was freed, and goes on' : "it can't be freed"),
          answered: lines.includes('answered'),
          inTime: after < (grace + 1) * 1000 + MARGIN || after,
        }
      },
    )
    const right = NATIVE.includes(kind)
      ? { reported: 'native code', outcome: 'not freed, no hooks, SIGKILL' }
      : { reported: 'its place', outcome: 'freed, hooks ran, SIGTERM' }
    const answered = (place: string) => place === 'http' && !NATIVE.includes(kind)
    const rows = Object.keys(PLACES).map((place) => ({ place, ...right, answered: answered(place), isTold: true, inTime: true }))
    expect(seen).toEqual(rows)
  })
})

describe.concurrent('exodos run', () => {
  test('C42 blocked by execSync of a command that heeds SIGTERM: sent that when the grace period is over, so hooks run', async () => {
    const source = `${prelude}${kinds}
      onExit(async () => { await sleep(50); say('saved') })
      hold()
      try { say('ready'); execSync('sleep 20') } catch { say('ended') }`
    const { signal, lines, stderr, after } = await timed(
      source,
      'ready',
      'SIGTERM',
      supervised('--grace', '1s', '--kill-after', '9s'),
    )
    expect({ signal, lines }).toEqual({ signal: 'SIGTERM', lines: ['ready', 'ended', 'saved'] })
    expect(stderr).toMatch(/sleep 20\): still there after the grace period: it is sent SIGTERM/)
    expect(after).toBeLessThan(1000 + MARGIN)
  })

  test('C42 blocked during the shutdown, in a hook: named by the watchdog, and killed', async () => {
    // On a starved machine the watchdog counts more slowly, so the supervisor gives it time.
    const seen = await lanes(KINDS, 2, async (kind) => {
      const source = inHook(`kinds['${kind}'](); await sleep(1)`).replace(/^setTimeout.*/m, "say('go'); hold()")
      const ended = await timed(source, 'go', 'SIGTERM', supervised('--grace', '1s', '--kill-after', '9s'))
      const { signal, stderr, after } = ended
      const [hang] = runReport(ended).hangs
      table.push(`| ${kind} | hook | ${reportedIn(hang)} | killed, ${signal} | ${Math.round(after)} |`)
      return {
        kind,
        reported: reportedIn(hang).replace(placeOf(source, kind), 'its place'),
        step: /hook hangs \(registered at .*program\.mjs.*; status: half done\)/.test(hang?.step ?? ''),
        killed: hang?.killed,
        signal,
        isTold: /^exodos: the event loop has been blocked for .* hook hangs/m.test(stderr),
        inTime: after < 10_000 + MARGIN || after,
      }
    })
    const right = { step: true, killed: true, signal: 'SIGKILL', isTold: true, inTime: true }
    const reported = (kind: string) => (NATIVE.includes(kind) ? 'native code' : 'its place')
    expect(seen).toEqual(KINDS.map((kind) => ({ kind, reported: reported(kind), ...right })))
  })

  /** Says each time when another signal isn't taken for a repetition any more. */
  const patient = (onAbort: string) => `${prelude}
    configure({ grace: '60s' })
    onExit((ctx) => say('next ' + ctx.signal.aborted), { name: 'next', priority: -1 })
    onExit((ctx) => new Promise(() => {
      setTimeout(() => say('later'), 600)
      ctx.signal.addEventListener('abort', () => { say('aborted'); ${onAbort} })
    }), { name: 'slow', timeout: '50s' })
    hold()
    say('ready')`

  test.each([
    ['E15 a second SIGTERM after 600 ms: forced, signals abort, only the reserve is left', '', 'SIGTERM', 'next true'],
    ['E16 a third one: immediate death', "setTimeout(() => say('latest'), 600)", 'SIGKILL', 'latest'],
  ])('%s', async (_, onAbort, signal, last) => {
    const program = start(patient(onAbort), supervised('--kill-after', '20s'))
    let began = 0
    for (const text of ['ready', 'later', 'latest'].slice(0, signal === 'SIGKILL' ? 3 : 2)) {
      await program.until(text)
      began = performance.now()
      program.kill('SIGTERM')
    }
    const ended = await program.ended
    expect(ended).toMatchObject({ signal, lines: ['ready', 'later', 'aborted', last] })
    expect(ended.report?.forced).toBe(signal === 'SIGTERM' ? true : undefined)
    expect(performance.now() - began).toBeLessThan(1000 + MARGIN)
  })

  test('an interpreter, which handles Ctrl-C itself, survives any number of them; SIGTERM ends it', async () => {
    const hooks = "configure({ signals: { SIGINT: 'app' } }); onExit(async () => { await sleep(1); say('hook') })"
    await lanes(['', hooks], 2, async (own) => {
      const source = `${prelude} ${own}
        let times = 0
        process.on('SIGINT', () => say('interrupt ' + ++times))
        hold()
        say('ready')`
      const program = start(source, supervised('--grace', '1s', '--kill-after', '500ms'))
      await program.until('ready')
      for (let i = 1; i <= 5; i++) {
        program.kill('SIGINT')
        await program.until(`interrupt ${i}`)
        // A later one is not taken for a repetition.
        await sleep(550)
      }
      program.kill('SIGTERM')
      const { signal, lines, stderr } = await program.ended
      expect({ signal, lines: lines.slice(6) }).toEqual({ signal: 'SIGTERM', lines: own ? ['hook'] : [] })
      expect(stderr).not.toMatch(/killed|blocked/)
    })
  })
})
