import { rmSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { node, poll, prelude, start } from './support/program.js'
import { aliveInGroup, exodosRun } from './support/supervise.js'

const limits = ['--grace=2s', '--kill-after=1s']
const under = (...options: string[]) => ({ command: (file: string) => exodosRun([...limits, ...options], node, file) })

/** Sends SIGTERM once the program is `ready`. */
async function terminate(source: string, options = under(), signal: NodeJS.Signals = 'SIGTERM') {
  const program = start(source, options)
  await program.until('ready')
  program.kill(signal)
  return { program, ...(await program.ended) }
}

const spin = (milliseconds: number) => `{ const end = Date.now() + ${milliseconds}; while (Date.now() < end); }`

describe('is not disturbed', () => {
  test('a program that has seen its signal, however long it blocks after that', async () => {
    const source = `process.on('SIGTERM', () => { ${spin(1500)}; console.log('saved'); process.exit(5) })
      setInterval(() => {}, 1000); console.log('ready')`
    expect(await terminate(source)).toMatchObject({ code: 5, lines: ['ready', 'saved'], stderr: '' })
  })

  test('a child that nobody has asked to end, while its parent waits for what it computes', async () => {
    const source = `${prelude}
      import { fork } from 'node:child_process'
      if (process.send) {
        process.on('message', () => { ${spin(1200)}; process.send('result', () => process.disconnect()) })
      } else {
        const child = fork(process.argv[1])
        child.on('spawn', () => say('ready'))
        onExit(() => new Promise((done) => { child.once('message', (text) => { say(text); done() }); child.send('compute') }), { phase: 'drain' })
      }`
    expect(await terminate(source)).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'result'], stderr: '' })
  })

  test.each(['SIGHUP', 'SIGUSR2'] as const)('a program that goes on after %s and then blocks', async (signal) => {
    const source = `process.on('${signal}', () => setTimeout(() => { ${spin(1500)}; console.log('done'); process.exit(0) }, 300))
      setInterval(() => {}, 1000); console.log('ready')`
    expect(await terminate(source, under(), signal)).toMatchObject({ code: 0, lines: ['ready', 'done'], stderr: '' })
  })
})

describe('after a free Node is as after an error', () => {
  const stuck = `() => { say('ready'); for (;;); }`
  const others: [string, string][] = [
    ['the immediates behind it run', `setImmediate(() => {}); setImmediate(${stuck}); setImmediate(() => say('other'))`],
    ['the ticks behind it run', `process.nextTick(${stuck}); process.nextTick(() => say('other'))`],
    ['the timers behind it run', `setTimeout(${stuck}, 10); setTimeout(() => say('other'), 10)`],
    ['an interval is not started again', `setInterval(${stuck}, 10); say('other')`],
  ]
  test.each(others)('%s, and the loop still ends by itself', async (_, act) => {
    const source = `${prelude}
      const server = (await import('node:net')).createServer().listen(0, '127.0.0.1')
      process.on('SIGTERM', () => { server.close(); say('seen') })
      process.on('exit', (code) => say('exit ' + code))
      setTimeout(() => {}, 60_000).unref()
      ${act}`
    const { code, lines, stderr } = await terminate(source)
    expect(stderr).toContain('it was freed')
    expect(lines.filter((line) => line !== 'ready').sort()).toEqual(['exit 0', 'other', 'seen'])
    expect(code).toBe(0)
  })

  const places: [string, string][] = [
    ['after await', `async () => { await null; stuck() }`],
    ['after an awaited timer', `async () => { await sleep(5); stuck() }`],
    ['in a timer', `() => setTimeout(stuck, 5)`],
    ['in an immediate', `() => setImmediate(stuck)`],
    ['in a tick', `() => process.nextTick(stuck)`],
    ['in a microtask', `() => queueMicrotask(stuck)`],
  ]
  test.each(places)('%s, in an async context, with async hooks: no crash, and no store leaks', async (_, act) => {
    const source = `${prelude}
      import { AsyncLocalStorage, createHook } from 'node:async_hooks'
      createHook({ init() {}, before() {}, after() {} }).enable()
      const requests = new AsyncLocalStorage()
      onExit(async () => { await sleep(20); say('store ' + requests.getStore()) })
      hold()
      const stuck = ${stuck}
      setTimeout(() => requests.run('request', ${act}), 20)`
    expect(await terminate(source)).toMatchObject({ signal: 'SIGTERM', lines: ['ready', 'store undefined'] })
  })
})

describe.concurrent('the ladder', () => {
  const deaf = `process.on('SIGTERM', () => {}); setInterval(() => {}, 50); console.log('ready ' + process.pid)`

  test('stands still while the program is stopped, and goes on to its end', async () => {
    const program = start(deaf, under())
    await program.until('ready')
    const pid = Number(/ready (\d+)\n/.exec(program.printed())?.[1])
    process.kill(pid, 'SIGSTOP')
    const began = performance.now()
    program.kill('SIGTERM')
    // Another, that isn't stopped, comes to the end of the same ladder.
    expect(await terminate(deaf)).toMatchObject({ signal: 'SIGKILL' })
    expect(program.child).toMatchObject({ exitCode: null, signalCode: null })
    process.kill(pid, 'SIGCONT')
    const { signal, stderr } = await program.ended
    expect(signal).toBe('SIGKILL')
    expect(stderr).toContain('killed')
    expect(performance.now() - began).toBeLessThan(12_000)
  })

  test('an exodos run inside another: neither leaves the program behind', async () => {
    const command = (file: string) => exodosRun(limits, ...exodosRun([], node, file))
    const { program, signal } = await terminate(deaf, { command })
    expect(signal).toBe('SIGKILL')
    await poll(() => aliveInGroup(program.child.pid as number), { timeout: 5000 }).toEqual([])
  })

  test('its directory is removed by somebody else: it ends as ever', async () => {
    const source = `process.on('SIGTERM', () => process.exit(7)); setInterval(() => {}, 1000); console.log('at ' + process.env.EXODOS_RUN); console.log('ready')`
    const program = start(source, under())
    await program.until('ready')
    rmSync(/at (\S+)/.exec(program.printed())?.[1] as string, { recursive: true })
    program.kill('SIGTERM')
    expect(await program.ended).toMatchObject({ code: 7, stderr: '' })
  })
})

test('no directory for temporary files: the program runs, and a line says what is missing', async () => {
  const { code, lines, stderr } = await start(`console.log('ran'); process.exit(3)`, {
    ...under(),
    env: { TMPDIR: '/nonexistent' },
  }).ended
  expect({ code, lines }).toEqual({ code: 3, lines: ['ran'] })
  expect(stderr).toMatch(/^exodos run: blocked event loops can't be freed, .*\n$/)
})

test('forked with a channel: the program has it', async () => {
  const program = start(`process.on('message', (text) => { process.send(text + ' back', () => process.disconnect()) })`, {
    ...under(),
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const answer = new Promise((resolve) => program.child.once('message', resolve))
  program.child.send('there and')
  expect(await answer).toBe('there and back')
  expect(await program.ended).toMatchObject({ code: 0, stderr: '' })
})
