import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { missing, type Server, startServer } from '../../packages/exodos/test/support/servers.js'
import { startExample } from './support/example.js'

const timeout = 100_000
/** How often it is killed under load. */
const ROUNDS = Number(process.env.EXODOS_TEST_ROUNDS ?? 6)

/** Starts the application under load and ends it, again and again: the table of that, and what became of the jobs. */
async function show(args: string[], env: Record<string, string> = {}) {
  const example = startExample('07-web-app/show.mjs', { args, env, timeout })
  const { code, stderr, stdout } = await example.ended
  const rows = stdout.match(/^\d+ .*(told|SIG).*$/gm) ?? []
  const [, accepted, done, continued] = /(\d+) jobs accepted: (\d+) done, (\d+) of them by two/.exec(stdout) ?? []
  const [jobs] = /\d+ lost, \d+ done twice, \d+ with a wrong result/.exec(stdout) ?? []
  return { code, stderr, rows, stdout, accepted: Number(accepted), done: Number(done), continued: Number(continued), jobs }
}

/** What a row holds when nothing was lost. */
const good = (start: number) => {
  const sessions = start === 1 ? 'none yet' : '10 of 10'
  return new RegExp(`^${start} +\\d+ +0 +${sessions} +\\d+ +\\d+ +3 of 3 +3 of 3 +told +SIGTERM +\\d+ *$`)
}

async function expectNoLoss(starts: number, store: string, env: Record<string, string> = {}) {
  const { code, stderr, rows, stdout, accepted, done, continued, jobs } = await show(
    ['--rounds', `${starts}`, '--store', store],
    env,
  )
  expect({ code, stderr }, stdout).toEqual({ code: 0, stderr: '' })
  expect(rows).toEqual(Array.from({ length: starts }, (_, i) => expect.stringMatching(good(i + 1))))
  expect(jobs).toBe('0 lost, 0 done twice, 0 with a wrong result')
  expect(done).toBe(accepted)
  expect(continued).toBeGreaterThan(starts)
}

describe.skipIf(missing('redis'))('with Redis', () => {
  let redis: Server
  beforeAll(async () => {
    redis = await startServer('redis')
  })
  afterAll(() => redis.stop())

  test('killed by SIGTERM again and again under load, the application loses no request, session or job', { timeout }, () =>
    expectNoLoss(ROUNDS, 'redis', { REDIS_URL: `redis://127.0.0.1:${redis.port}` }),
  )
})

test('the same with a database of its own', { timeout }, () => expectNoLoss(4, 'level'))

test('what SIGKILL takes is noticed; the jobs of a dead process are taken back, and done once', { timeout }, async () => {
  const { code, stderr, jobs, done, accepted } = await show(['--rounds', '2', '--store', 'level', '--signal', 'SIGKILL'])
  expect(code).toBe(1)
  expect(stderr).toMatch(/^start 2: 0 of 10 sessions restored$/m)
  expect(stderr).toMatch(/^start 1: WebSockets closed with 1006,1006,1006$/m)
  expect(jobs).toBe('0 lost, 0 done twice, 0 with a wrong result')
  // An order may have been taken although its user never heard of it.
  expect(done).toBeGreaterThanOrEqual(accepted)
})

test('where nothing can be waited for, the state goes into a file; the next start has it from there', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'exodos-web-app-'))
  try {
    // As a library would that knows no better.
    const leaveAtOnce = "data:text/javascript,process.stdin.once('data',()=>process.reallyExit(3)).unref()"
    const startApp = async () => {
      const env = { REDIS_URL: '', NODE_OPTIONS: `--import=${leaveAtOnce}` }
      const app = startExample('07-web-app/app.mjs', { args: [dir], env, stdio: ['pipe', 'pipe', 'pipe'] })
      await app.until('http://127.0.0.1:')
      const visit = async (headers = {}) => {
        const response = await fetch(app.printed().trim(), { headers })
        const { visits } = (await response.json()) as { visits: number }
        return { visits, cookie: response.headers.get('set-cookie') ?? '' }
      }
      return { app, visit }
    }
    const first = await startApp()
    const { cookie } = await first.visit()
    first.app.child.stdin?.write('leave')
    expect(await first.app.ended).toMatchObject({ code: 3 })
    expect(readdirSync(dir)).toContain('state.json')

    const second = await startApp()
    expect(await second.visit({ cookie })).toMatchObject({ visits: 2 })
    second.app.kill('SIGTERM')
    expect(await second.app.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
    expect(readdirSync(dir)).not.toContain('state.json')
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
})
