import { readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, test } from 'vitest'
import { prelude, run, runAndKill } from './support/program.js'

const schema = JSON.parse(readFileSync(new URL('../report.schema.json', import.meta.url), 'utf8'))
const validate = new Ajv2020({ strict: true, strictTypes: false }).compile(schema)
const problems = (report: unknown) => (validate(report) ? [] : validate.errors)

const hooks = `
  onExit(async (ctx) => { ctx.status('working'); await new Promise(() => {}) }, { name: 'hung', timeout: 20, state: () => ({ open: 1 }) })
  onExit(() => { throw Object.assign(new Error('bad'), { code: 'EBAD' }) }, { name: 'bad' })
  onExit(() => { onExit(() => {}, { phase: 'announce', name: 'late' }) })
  onExit(async () => { setTimeout(() => { throw new Error('stray') }, 1); await sleep(15) }, { phase: 'drain' })
  onExit(async () => {}, { phase: 'save' })`

test.each([
  ['natural end', ''],
  ['process.exit', 'setTimeout(() => process.exit(3), 1)'],
  ['reallyExit', 'process.reallyExit(3)'],
  ['uncaught error', `throw new Error('boom')`],
  ['rejection with a non-error', `Promise.reject({ a: 1 })`],
])('the report keeps to its schema: %s', async (_, leave) => {
  const { report } = await run(`${prelude}${hooks}\n${leave}`)
  expect(report?.hooks.length).toBeGreaterThan(4)
  expect(problems(report)).toEqual([])
})

test('what a hook waits for is asked when its time is up: it may come to its end a little later', async () => {
  const { report } = await run(`${prelude}
    let open = 1
    onExit(async ({ signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      open = 0
    }, { name: 'slow', timeout: 20, state: () => ({ open }) })
    process.exit(0)`)
  expect(report?.hooks[0]).toMatchObject({ name: 'slow', status: 'overdue', state: { open: 1 } })
})

test('the report keeps to its schema: forced by a second signal', async () => {
  const { report } = await runAndKill(
    `${prelude}${hooks}
    onExit(() => new Promise((done) => setTimeout(() => { process.kill(process.pid, 'SIGINT'); setTimeout(done, 50) }, 520)), { phase: 'drain' })
    hold(); say('ready')`,
    'SIGTERM',
  )
  expect(report).toMatchObject({
    forced: true,
    exit: { signal: 'SIGTERM' },
    reasons: [{ signal: 'SIGTERM' }, { signal: 'SIGINT' }],
  })
  expect(problems(report)).toEqual([])
})

test('a clean exit says nothing on stderr, and EXODOS_DEBUG=1 says everything', async () => {
  const source = `${prelude} onExit(() => {}, { name: 'the hook' })`
  expect((await run(source)).stderr).toBe('')
  const { stderr } = await run(source, { env: { EXODOS_DEBUG: '1' } })
  expect(stderr).toMatch(
    /^exodos: natural: 1 hook in \d+ ms, 0 not ok\n {2}ok \d+ ms {2}release the hook — registered at .*program\.mjs:\d+:\d+\n$/,
  )
})

test('hostile names and stacks cost no report, and a long summary is cut', async () => {
  const { report, stderr, code } = await run(`${prelude}
    Error.prepareStackTrace = () => { throw new Error('no stacks here') }
    onExit(Object.defineProperty(() => { throw 1 }, 'name', { value: Symbol('odd') }))
    for (let i = 0; i < 1000; i++) onExit(() => { throw new Error('bad') }, { name: 'bad ' + i })`)
  expect(code).toBe(1)
  expect(report?.hooks).toHaveLength(1001)
  expect(problems(report)).toEqual([])
  expect(stderr.split('\n').length).toBeLessThan(100)
  expect(stderr).toContain('… and 981 more')
})

test('a run that does not leave resolves with its report and writes none', async () => {
  const ended = await run(`${prelude}
    onExit(() => {}, { name: 'a' })
    const report = await runExitHooks()
    say(JSON.stringify([report.reasons, report.hooks.map((hook) => hook.name), 'exit' in report]))`)
  expect(ended.lines).toEqual(['[[{"kind":"explicit"}],["a"],false]'])
  expect(ended.report).toBeUndefined()
})

test('configure({ report }) takes a function, and one that throws costs only a line', async () => {
  const ended = await run(`${prelude}
    onExit(() => say('hook'))
    configure({ report: (report) => { say(String(report.hooks.length)); throw new Error('no') } })`)
  expect(ended).toMatchObject({ code: 0, lines: ['hook', '1'] })
  expect(ended.stderr).toBe('exodos: the report could not be delivered: Error: no\n')
})

test('tracing channels tell of run, phases and hooks', async () => {
  const { lines } = await run(`${prelude}
    import { channel } from 'node:diagnostics_channel'
    for (const subject of ['run', 'phase', 'hook'])
      for (const event of ['start', 'end', 'asyncEnd', 'error'])
        channel('tracing:exodos:' + subject + ':' + event).subscribe(({ name, status }) => say([subject, event, name, status].filter(Boolean).join(' ')))
    onExit(() => {}, { name: 'sync', phase: 'announce' })
    onExit(async () => { throw new Error('x') }, { name: 'async', phase: 'announce' })`)
  expect(lines.slice(0, 8)).toEqual([
    'run start',
    'phase start announce',
    'hook start async running',
    'hook end async running',
    'hook start sync running',
    'hook end sync ok',
    'hook error async failed',
    'hook asyncEnd async failed',
  ])
  expect(lines.at(-1)).toBe('run end')
})
