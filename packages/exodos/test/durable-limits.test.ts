import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { begin, guardianOf, imports, isOver, kill, makePlace, type Place, until, wait } from './support/deaths.js'
import { node, run } from './support/program.js'
import { isAlive, main } from './support/supervise.js'

const read = ({ dir }: Place) => {
  try {
    return readFileSync(join(dir, 'log'), 'utf8').trim().split('\n')
  } catch {
    return []
  }
}

/** Says when it begins and when it ends; it takes as long as that. */
const slow = (seconds: number, options = '{}') =>
  `durable.command(['/bin/sh', '-c', 'echo begin >> "$0"; sleep ${seconds}; echo end >> "$0"', log], ${options})`

describe.concurrent('what takes longer than an exit may take', () => {
  test('a command is ended, and done by the guardian after that: never twice at a time', async () => {
    const place = makePlace()
    const ended = await run(
      `import { configure } from 'exodos'\n${imports}\nconfigure({ grace: '2s' })\n${slow(3)}\nprocess.exit()`,
      { env: place.env },
    )
    expect(ended.code).toBe(1)
    expect(ended.report?.hooks[0]).toMatchObject({ status: 'failed' })
    await until('it is over', () => isOver(place))
    expect(read(place)).toEqual(['begin', 'begin', 'end'])
  })

  test('its own timeout is its limit where the grace period has room for it', async () => {
    const place = makePlace()
    const ended = await run(
      `import { configure } from 'exodos'\n${imports}\nconfigure({ grace: '4s' })\n${slow(2.5, "{ timeout: '3s' }")}`,
      { env: place.env },
    )
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(read(place)).toEqual(['begin', 'end'])
  })

  test('a process that does not listen is killed within the exit', async () => {
    const place = makePlace()
    const ended = await run(
      `import { configure } from 'exodos'
      ${imports}
      configure({ grace: '2s' })
      const child = spawn('/bin/sh', ['-c', 'trap "" TERM; echo ready; while :; do sleep 0.1; done'], { stdio: ['ignore', 'pipe', 'ignore'] })
      await new Promise((resolve) => child.stdout.once('data', resolve))
      console.log(child.pid)
      durable.process(child)
      process.exit()`,
      { env: place.env },
    )
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    // Whoever collects it may not have done so yet.
    expect(isAlive(Number(ended.lines.at(-1)))).toBe(false)
  })
})

test.concurrent.each([
  [
    'a group that the process does not lead',
    'durable.process(child, { group: true })',
    /options\.group: expected a process that leads/,
  ],
  [
    'a cookie that it does not have',
    "durable.process(child, { cookie: 'A=b' })",
    /options\.cookie: expected what is in the environment/,
  ],
  ['a date', 'durable.call({ module: "x", args: [1, new Date(0)] })', /options\.args\[1\]: expected something that JSON keeps/],
])('%s is refused at the call', async (_, call, message) => {
  const place = makePlace()
  const { lines } = await run(
    `${imports}
    const child = spawn('/bin/sleep', ['60'])
    try { ${call} } catch (error) { console.log(error.message) }
    console.log(durable.status().records)
    child.kill()`,
    { env: place.env },
  )
  expect(lines).toEqual([expect.stringMatching(message), '0'])
})

test.concurrent.each([
  ['could not be started', "spawn('/nowhere').on('error', ({ code }) => console.log(code))", ['ENOENT']],
  [
    'has ended',
    "await (async () => { const child = spawn('true'); await new Promise((r) => child.on('exit', r)); return child })()",
    [],
  ],
])('a child that %s: there is nothing to be done', async (_, child, printed) => {
  const place = makePlace()
  const { lines, code } = await run(
    `${imports}
    const record = durable.process(${child})
    await record.run()
    record.cancel()
    console.log(durable.status().records)`,
    { env: place.env },
  )
  expect([lines.sort(), code]).toEqual([['0', ...printed].sort(), 0])
})

describe.concurrent('recovery while somebody else is at it', () => {
  test('waits for that one, and tells what it could not do', async () => {
    const place = makePlace()
    const owner = await begin(`${imports} durable.command(['/bin/false']); ${wait}`, {}, place)
    kill(owner.pid)
    await owner.program.ended
    const ended = await run('', { command: () => [node, main, 'recover'], env: place.env, timeout: 60_000 })
    expect([ended.code, ended.lines]).toEqual([1, ['FAIL  /bin/false', '      ended with exit code 1']])
  })

  test('doctor does nothing, and says that something is to be done', async () => {
    const place = makePlace()
    const owner = await begin(`${imports} tempFile({ parent: work }); ${wait}`, {}, place)
    const guardian = await guardianOf(place, owner.pid)
    kill(guardian, 'SIGSTOP')
    kill(owner.pid)
    await owner.program.ended
    kill(guardian)
    const ended = await run('', { command: () => [node, main, 'doctor'], env: place.env })
    expect(ended.stdout).toContain('programs that died with something left to be done: 1;')
    const { stdout } = await run('', { command: () => [node, main, 'recover'], env: place.env })
    expect(stdout).toMatch(/^done {2}remove /)
  })
})

test.concurrent.each([
  ['natural end', ''],
  ['SIGTERM', "process.kill(process.pid, 'SIGTERM'); hold()"],
  ['SIGKILL', "process.kill(process.pid, 'SIGKILL'); hold()"],
])('%s: a path that another process has recorded as well, before it was made, is left to that one', async (_, end) => {
  const place = makePlace()
  const file = join(place.work, 'app.pid')
  const other = await begin(
    `${imports} durable.path(work + '/app.pid'); writeFileSync(work + '/app.pid', 'theirs'); ${wait}`,
    {},
    place,
  )
  rmSync(file)
  const { stderr } = await run(`${imports} durable.path(work + '/app.pid'); writeFileSync(work + '/app.pid', ''); ${end}`, {
    env: place.env,
  })
  expect(stderr).toBe('')
  await until('only the other one has records', () => readdirSync(join(place.state, 'owners')).length === 1)
  expect(existsSync(file)).toBe(true)
  other.program.kill('SIGTERM')
  await other.program.ended
  expect(existsSync(file)).toBe(false)
})
