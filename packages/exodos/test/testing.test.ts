import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import * as host from '../src/index.js'
import * as library from '../src/lib.js'
import { expectExit, fakeClock, isolateExits } from '../src/testing.js'

const dir = mkdtempSync(new URL('./p-', import.meta.url).pathname)
afterAll(() => rmSync(dir, { recursive: true, force: true }))
const program = (name: string, source: string) => {
  const file = join(dir, `${name}.mjs`)
  writeFileSync(file, `import { onExit } from 'exodos'\n${source}`)
  return file
}

test('isolateExits takes the hooks of applications and libraries, and nothing is listened to or patched', async () => {
  const before = [process.emit, process.exit, process.listenerCount('SIGTERM'), process.listenerCount('exit')]
  const exits = isolateExits()
  const log: string[] = []
  host.onExit(() => void log.push('host'))
  library.onExit(async () => void log.push('library'))
  expect([process.emit, process.exit, process.listenerCount('SIGTERM'), process.listenerCount('exit')]).toEqual(before)
  const report = await exits.run({ signal: 'SIGTERM' })
  expect(log).toEqual(['library', 'host'])
  expect(report).toMatchObject({ exit: { signal: 'SIGTERM' }, reasons: [{ kind: 'signal', signal: 'SIGTERM' }] })
  exits.restore()
})

test('each way to leave is seen by hooks and report', async () => {
  const leave = async (by: Parameters<ReturnType<typeof isolateExits>['run']>[0]) => {
    const exits = isolateExits()
    let kind = ''
    host.onExit(({ reason }) => {
      kind = reason.kind
    })
    const { exit } = await exits.run(by)
    exits.restore()
    return [kind, exit]
  }
  expect(await leave({})).toEqual(['natural', { code: 0 }])
  expect(await leave({ code: 3 })).toEqual(['exit', { code: 3 }])
  expect(await leave({ error: new Error('x') })).toEqual(['error', { code: 1 }])
  expect(await leave({ parentLost: true })).toEqual(['parent', { code: 0 }])
  expect(await leave({ signal: 'SIGHUP' })).toEqual(['signal', { signal: 'SIGHUP' }])
})

test('a failed hook turns 0 into the failure code', async () => {
  const exits = isolateExits()
  host.configure({ failureCode: 70 })
  host.onExit(() => {
    throw new Error('x')
  })
  expect((await exits.run()).exit).toEqual({ code: 70 })
  exits.restore()
})

test('hooks left in one isolation are none of the next, and of none before it', async () => {
  const outer = isolateExits()
  host.onExit(() => {}, { name: 'outer' })
  const inner = isolateExits()
  host.onExit(() => {}, { name: 'inner' })
  inner[Symbol.dispose]()
  const { hooks } = await outer.run()
  expect(hooks.map((hook) => hook.name)).toEqual(['outer'])
  outer.restore()
})

test('with a fake clock a hang of hours takes no time', async () => {
  const clock = fakeClock()
  const exits = isolateExits({ clock })
  host.configure({ grace: '2h' })
  host.onExit(() => new Promise(() => {}), { name: 'hung', timeout: '1h' })
  const run = exits.run({ signal: 'SIGTERM' })
  await clock.advance('59m')
  expect(await Promise.race([run, 'running'])).toBe('running')
  await clock.advance('1m')
  expect((await run).hooks).toMatchObject([{ name: 'hung', status: 'overdue' }])
  exits.restore()
})

test('expectExit sees a real process: its end, its output and its report', async () => {
  const file = program(
    'killed',
    `onExit(async () => { console.log('cleaned') }, { name: 'clean' }); setInterval(() => {}, 1000); console.log('up')`,
  )
  const exit = await expectExit(pathToFileURL(file), { killSignal: 'SIGTERM', readyWhen: 'up' })
  expect(exit).toMatchObject({ code: null, signal: 'SIGTERM', stdout: 'up\ncleaned\n', stderr: '' })
  expect(exit.report).toMatchObject({ exit: { signal: 'SIGTERM' }, hooks: [{ name: 'clean', status: 'ok' }] })
})

test('expectExit hands on arguments, environment and options of Node', async () => {
  const file = program(
    'args',
    `onExit(() => {}); console.log(process.argv[2], process.env.ANSWER, process.execArgv[0]); process.exit(3)`,
  )
  const exit = await expectExit(file, { args: ['a'], env: { ANSWER: '42' }, execArgv: ['--no-warnings'] })
  expect(exit).toMatchObject({ code: 3, signal: null, stdout: 'a 42 --no-warnings\n' })
})

test('expectExit ends a program that does not end, and rejects', async () => {
  const file = program('endless', `console.log(process.pid); setInterval(() => {}, 1000)`)
  const error = await expectExit(file, { timeout: 300 }).catch((thrown: Error) => thrown)
  expect(error).toMatchObject({ message: expect.stringMatching(/was still running after 300 ms\n\d+/) })
  const pid = Number(/\n(\d+)/.exec((error as Error).message)?.[1])
  await expect.poll(() => isAlive(pid)).toBe(false)
})

test('expectExit refuses what is no program', async () => {
  await expect(expectExit(3 as never)).rejects.toMatchObject({ code: 'ERR_EXODOS_INVALID_ARG' })
})

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}
