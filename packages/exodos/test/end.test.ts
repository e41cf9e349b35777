import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { end } from '../src/guardian/actions/end.js'
import { source as endSource } from '../src/guardian/actions/end.js?source'
import { runSteps, runStepsSync } from '../src/guardian/actions/steps.js'
import type { ProcessAction as Target } from '../src/guardian/records/action.js'
import { DONE } from '../src/guardian/records/action.js'
import { allSeen, environmentOf, type Seen, seen } from '../src/system/proc.js'

const isRoot = process.getuid?.() === 0
/** All that a test starts has it in its environment, so that nothing can stay behind. */
let mark = ''
const started: ChildProcess[] = []

const alive = (pid: number) => !['Z', 'X', undefined].includes(seen(pid)?.state)
const marked = () => allSeen().flatMap(({ pid }) => (alive(pid) && environmentOf(pid, 'END_TEST') === mark ? [pid] : []))

const kill = (pid: number) => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has gone meanwhile.
  }
}

afterEach(async () => {
  // A shell that is just starting something has it only a moment later.
  for (let left = marked(); left.length > 0; left = marked()) {
    for (const pid of left) kill(pid)
    await setTimeout(5)
  }
  for (const child of started.splice(0)) if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
})

interface Started {
  child: ChildProcess
  /** Of the process, or of the one whose pid it printed. */
  target: Target
  cookie: string
  /** The pids it has printed. */
  printed: number[]
}

/** Starts `sh -c script` in a session of its own, and waits until it has said `ready`. */
async function start(script: string, target: Partial<Target> = {}, options: SpawnOptions = {}): Promise<Started> {
  mark = randomBytes(8).toString('hex')
  const env = { ...process.env, END_TEST: mark }
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore'], detached: true, env, ...options })
  started.push(child)
  let text = ''
  while (!text.includes('ready')) text += String((await once(child.stdout as NodeJS.ReadableStream, 'data'))[0])
  const pid = child.pid as number
  const { startTime } = seen(pid) as Seen
  const printed = text
    .split(/\s+/)
    .filter((word) => /^\d+$/.test(word))
    .map(Number)
  const whole: Target = { kind: 'process', pid, start: startTime, group: false, signal: 'SIGTERM', timeout: 5000, ...target }
  return { child, target: whole, cookie: `END_TEST=${mark}`, printed }
}

const rests = 'while :; do sleep 0.02; done'
const stubborn = `trap '' TERM; echo ready; ${rests}`

describe.each([
  ['async', runSteps],
  ['sync', async (steps: ReturnType<typeof end>) => runStepsSync(steps)],
])('%s', (_, drive) => {
  test('asks, and is content when that suffices', async () => {
    const { child, target } = await start(`trap 'exit 7' TERM; echo ready; ${rests}`)
    expect(await drive(end(target))).toEqual(DONE)
    if (child.exitCode === null) await once(child, 'exit')
    expect(child.exitCode).toBe(7)
  })

  test('kills one that does not listen, after the time it was given', async () => {
    const { child, target } = await start(stubborn, { timeout: 200 })
    const began = performance.now()
    expect(await drive(end(target))).toEqual(DONE)
    expect(performance.now() - began).toBeGreaterThan(190)
    expect(alive(target.pid)).toBe(false)
    if (child.signalCode === null) await once(child, 'exit')
    expect(child.signalCode).toBe('SIGKILL')
  })

  test('kills at once when no time is given', async () => {
    const { target } = await start(stubborn, { timeout: 0 })
    const began = performance.now()
    expect(await drive(end(target))).toEqual(DONE)
    expect(performance.now() - began).toBeLessThan(1000)
    expect(alive(target.pid)).toBe(false)
  })

  test('a group with its grandchildren, a stubborn one among them', async () => {
    const script = `sh -c "sleep 60 & sleep 60 & (trap '' TERM; echo ready; ${rests})" & sleep 60`
    const { target } = await start(script, { group: true, timeout: 200 })
    expect(marked().length).toBeGreaterThanOrEqual(5)
    expect(await drive(end(target))).toEqual(DONE)
    expect(marked()).toEqual([])
  })

  test('one that has left the group and the session, by its cookie', async () => {
    const { target, cookie, printed } = await start('setsid sleep 60 & echo $!; sleep 60 & echo ready; wait', { group: true })
    const [escaped] = printed as [number]
    // `setsid` needs a moment.
    while (seen(escaped)?.group === target.pid) await setTimeout(1)
    expect(await drive(end(target))).toEqual(DONE)
    expect(marked()).toEqual([escaped])
    expect(await drive(end({ ...target, cookie }))).toEqual(DONE)
    expect(marked()).toEqual([])
  })
})

test('one that has left the group, but not the session', async () => {
  const { target, printed } = await start("exec bash -c 'set -m; sleep 60 & echo $!; echo ready; wait'", { group: true })
  expect(seen(printed[0] as number)?.group).toBe(printed[0])
  expect(runStepsSync(end(target))).toEqual(DONE)
  expect(marked()).toEqual([])
})

test('what the leader has left behind in its group', async () => {
  const { child, target } = await start('sleep 60 & echo ready', { group: true })
  if (child.exitCode === null) await once(child, 'exit')
  expect(marked()).toHaveLength(1)
  expect(await runSteps(end(target))).toEqual(DONE)
  expect(marked()).toEqual([])
})

test('only the process itself without `group`', async () => {
  const { target } = await start('sleep 60 & echo ready; wait')
  expect(await runSteps(end(target))).toEqual(DONE)
  expect(marked()).toHaveLength(1)
})

test('one that is stopped hears it', async () => {
  const { child, target } = await start(`trap 'exit 7' TERM; echo ready; ${rests}`)
  child.kill('SIGSTOP')
  while (seen(target.pid)?.state !== 'T') await setTimeout(1)
  const exit = once(child, 'exit')
  expect(await runSteps(end(target))).toEqual(DONE)
  expect((await exit)[0]).toBe(7)
})

test('one that has gone is done; so is a zombie', async () => {
  const { child, target, printed } = await start('sleep 0.1 & echo $!; echo ready; exec sleep 60')
  const [zombie] = printed as [number]
  while (seen(zombie)?.state !== 'Z') await setTimeout(1)
  const began = performance.now()
  expect(await runSteps(end({ ...target, pid: zombie, start: seen(zombie)?.startTime as string }))).toEqual(DONE)
  expect(performance.now() - began).toBeLessThan(500)
  child.kill('SIGKILL')
  await once(child, 'exit')
  expect(runStepsSync(end(target))).toEqual(DONE)
  expect(runStepsSync(end({ ...target, group: true }))).toEqual(DONE)
})

test.each([false, true])('a later process with the same pid is left alone, and its group: %s', async (group) => {
  const { target } = await start('sleep 60 & echo ready; wait', { group })
  const before = marked()
  const earlier = { ...target, start: String(Number(target.start) - 1) }
  expect(await runSteps(end(earlier))).toEqual({ left: `process ${target.pid} is not the one that was recorded` })
  expect(marked()).toEqual(before)
})

describe('never ends', () => {
  const rows: [name: string, pid: number, reason: string][] = [
    ['ourselves', process.pid, 'is the one that was to end it'],
    ['who has started us', process.ppid, 'is one that has started us'],
    ['who has started that', seen(process.ppid)?.parent as number, 'is one that has started us'],
    ['the first process', 1, 'is never ended'],
    ['everybody', -1, 'is never ended'],
    ['our group', 0, 'is never ended'],
    ['what is no number', Number.NaN, 'is never ended'],
  ]
  test.each(rows.filter(([, pid, reason]) => pid !== 1 || reason === 'is never ended'))('%s', (_, pid, reason) => {
    const target: Target = {
      kind: 'process',
      pid,
      start: seen(pid)?.startTime ?? '1',
      group: true,
      signal: 'SIGTERM',
      timeout: 0,
    }
    expect(runStepsSync(end(target))).toEqual({ left: `process ${pid} ${reason}` })
  })

  test('one that was recorded without its start time', async () => {
    const { target } = await start('echo ready; sleep 60', { start: '' })
    expect(runStepsSync(end(target))).toHaveProperty('left')
    expect(alive(target.pid)).toBe(true)
  })

  test('ourselves, where we are of the group, or carry the cookie', async () => {
    // The program ends its own group: it and its parent stay, its sibling goes.
    const dir = mkdtempSync(join(tmpdir(), 'end-'))
    try {
      writeFileSync(join(dir, 'end.cjs'), endSource)
      const program = `
        const { end } = require('./end.cjs')
        const [pid, start, cookie] = process.argv.slice(2)
        const steps = end({ pid: Number(pid), start, group: true, signal: 'SIGKILL', timeout: 1000, cookie })
        let next
        while (!(next = steps.next()).done) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, next.value.sleep)
        console.log(JSON.stringify(next.value))`
      writeFileSync(join(dir, 'program.cjs'), program)
      const other = await start('echo ready; sleep 60')
      const { pid, start: startTime } = other.target
      const env = { PATH: process.env.PATH, END_TEST: mark }
      const command = '"$0" program.cjs "$@"; echo parent'
      const args = ['-c', command, process.execPath, String(pid), startTime, other.cookie]
      const { stdout } = spawnSync('sh', args, { cwd: dir, env, encoding: 'utf8' })
      expect(stdout).toBe(`${JSON.stringify(DONE)}\nparent\n`)
      expect(marked()).toEqual([])

      if (!isRoot) return
      const theirs = await start('echo ready; sleep 60')
      chmodSync(dir, 0o755)
      const asked = [process.execPath, 'program.cjs', String(theirs.target.pid), theirs.target.start, theirs.cookie]
      const user = { uid: 65534, gid: 65534 }
      const result = spawnSync(asked[0] as string, asked.slice(1), { cwd: dir, env: {}, encoding: 'utf8', ...user })
      expect(JSON.parse(result.stdout)).toEqual({ left: `process ${theirs.target.pid} belongs to another user` })
      expect(marked()).toHaveLength(2)
    } finally {
      rmSync(dir, { recursive: true })
    }
  })
})
