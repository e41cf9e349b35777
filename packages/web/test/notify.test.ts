import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { node, type ProgramOptions, run, start } from '../../exodos/test/support/program.js'
import { exodosRun } from '../../exodos/test/support/supervise.js'

const path = (process.env.PATH ?? '').split(delimiter)
const missing = ['systemd-notify', 'perl'].filter((name) => !path.some((dir) => existsSync(join(dir, name))))
if (missing.length > 0 && process.env.CI) throw new Error(`not installed: ${missing.join(', ')}`)
const withSystemd = test.skipIf(missing.length > 0)
const why = missing.length > 0 ? ` (not installed: ${missing.join(', ')})` : ''

const dirs: string[] = []
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true })
})

/** Short enough for the path of a socket. */
function directory(): string {
  const dir = mkdtempSync(join(tmpdir(), 'exodos-notify-'))
  dirs.push(dir)
  return dir
}

/** Lets go of file descriptors that come with a message, as systemd does: `systemd-notify` waits for that. */
const perl = `$s = IO::Socket::UNIX->new(Local => $ARGV[0], Type => SOCK_DGRAM) or die $!; $| = 1; print "up\\n";
while (defined $s->recv($m, 4096)) { $m =~ s/\\n/ /g; print "$m\\n" }`

/** A real socket in the place of systemd's. `messages` are those that don't only mark the end of one. */
async function systemd() {
  const socket = join(directory(), 'notify')
  const args = ['-MIO::Socket::UNIX', '-MSocket=SOCK_DGRAM', '-e', perl, socket]
  const child = spawn('perl', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  const up = new Promise<void>((resolve) => {
    child.stdout.on('data', (data) => {
      text += data
      resolve()
    })
  })
  const closed = new Promise<void>((resolve) => void child.once('close', () => resolve()))
  stops.push(async () => {
    child.kill('SIGKILL')
    await closed
  })
  await up
  return {
    env: { NOTIFY_SOCKET: socket },
    messages: () => text.split('\n').filter((line) => line && line !== 'up' && line !== 'BARRIER=1'),
  }
}

const program = `
import { notReady, probes, ready } from '@exodos/web'
import { configure, exit, onExit, runExitHooks } from 'exodos'
import { writeSync } from 'node:fs'
const say = (text) => writeSync(1, text + '\\n')
const hold = setTimeout(() => {}, 60_000)
`

const stopping = /^STOPPING=1 EXTEND_TIMEOUT_USEC=(\d+)$/

withSystemd(`systemd is told once that the service is ready, and what its end may take${why}`, async () => {
  const { env, messages } = await systemd()
  const grace = `configure({ grace: '20s' }); for (const phase of ['drain', 'save', 'release', 'flush']) onExit(async () => {}, { phase })`
  const running = start(`${program}${grace}; probes({ port: 0 }); ready(); notReady(); ready(); say('up')`, { env })
  await running.until('up')
  running.kill('SIGTERM')
  expect(await running.ended).toMatchObject({ signal: 'SIGTERM', stderr: '' })
  expect(messages()).toEqual(['READY=1', expect.stringMatching(stopping)])
  const usec = Number(stopping.exec(messages()[1] as string)?.[1])
  expect(usec).toBeGreaterThan(20_500_000)
  expect(usec).toBeLessThanOrEqual(22_000_000)
})

withSystemd.each<[name: string, source: string, messages: unknown[]]>([
  ['a service that was never ready', 'probes({ port: 0 }); clearTimeout(hold)', [expect.stringMatching(stopping)]],
  ['exit()', 'ready(); exit(0)', ['READY=1', expect.stringMatching(stopping)]],
  ['process.exit()', 'ready(); process.exit(0)', ['READY=1', expect.stringMatching(stopping)]],
  ['an explicit run, which is no end', 'ready(); clearTimeout(hold); await runExitHooks()', ['READY=1']],
  ['ready() when the process leaves', `onExit(() => ready(), { phase: 'drain' }); exit(0)`, []],
  [
    'a worker thread',
    `clearTimeout(hold); const { Worker, isMainThread } = await import('node:worker_threads')
if (isMainThread) new Worker(new URL(import.meta.url)); else ready()`,
    [],
  ],
  ['the import alone', 'clearTimeout(hold)', []],
])(`what systemd hears of: %s${why}`, async (_, source, expected) => {
  const { env, messages } = await systemd()
  expect(await run(`${program}${source}`, { env })).toMatchObject({ code: 0, stderr: '' })
  expect(messages()).toEqual(expected)
})

withSystemd(`systemd hears of a program under exodos run${why}`, async () => {
  const { env, messages } = await systemd()
  const command = (file: string) => exodosRun([], node, file)
  expect(await run(`${program}ready(); exit(0)`, { env, command })).toMatchObject({ code: 0, stderr: '' })
  expect(messages()).toEqual(['READY=1', expect.stringMatching(stopping)])
})

withSystemd(`systemd hears nothing of a forked child, which inherits its variable${why}`, async () => {
  const { env, messages } = await systemd()
  expect(await run(`${program}ready(); exit(0)`, { env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })).toMatchObject({
    code: 0,
    stderr: '',
  })
  expect(messages()).toEqual([])
})

test.each<[name: string, env: () => Record<string, string>, stderr: RegExp]>([
  ['nobody listens', () => ({}), /ExodosWarning: systemd-notify READY=1: (Failed to notify|spawn systemd-notify ENOENT)/],
  ['the command is missing', () => ({ PATH: directory() }), /ExodosWarning: systemd-notify READY=1: spawn systemd-notify ENOENT/],
  ['the command hangs', () => command('exec sleep 60'), /ExodosWarning: systemd-notify READY=1: no end within 1000 ms/],
])('a failure is one warning, and costs a second at most each time: %s', async (_, env, stderr) => {
  const ended = await run(`${program}ready(); onExit(() => say('saved'), { phase: 'save' }); exit(0)`, {
    env: { NOTIFY_SOCKET: '/nowhere/notify', ...env() },
  })
  expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'saved\n' })
  expect(ended.stderr).toMatch(stderr)
  expect(ended.stderr.match(/ExodosWarning/g)).toHaveLength(1)
  expect(ended.ms).toBeLessThan(8000)
})

/** A stand-in for `systemd-notify`, found before the real one. */
function command(script: string): Record<string, string> {
  const bin = directory()
  writeFileSync(join(bin, 'systemd-notify'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return { PATH: `${bin}${delimiter}${process.env.PATH}` }
}

test('without systemd its command is not started', async () => {
  const mark = join(directory(), 'mark')
  const env = command(`echo "$@" >>'${mark}'`)
  const source = `${program}ready(); exit(0)`
  expect(await run(source, { env: { ...env, NOTIFY_SOCKET: undefined } })).toMatchObject({ code: 0, stderr: '' })
  expect(existsSync(mark)).toBe(false)
  // The control.
  expect(await run(source, { env: { ...env, NOTIFY_SOCKET: '/any' } })).toMatchObject({ code: 0, stderr: '' })
  expect(existsSync(mark)).toBe(true)
})

test.each<[name: string, env: ProgramOptions['env'], source: string, messages: string[]]>([
  ['with PM2', { pm_id: '0' }, 'ready(); notReady(); ready()', ['ready']],
  ['without PM2', { pm_id: undefined }, 'ready()', []],
  ['with PM2, and no channel any more', { pm_id: '0' }, `process.disconnect(); ready()`, []],
])('a forked process says that it is ready: %s', async (_, env = {}, source, expected) => {
  const messages: unknown[] = []
  const running = start(`${program}onExit(() => {}); ${source}; clearTimeout(hold); process.channel?.unref()`, {
    env,
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  running.child.on('message', (message) => messages.push(message))
  expect(await running.ended).toMatchObject({ code: 0, stderr: '' })
  expect(messages).toEqual(expected)
})

test('with PM2 that has no channel nothing is said', async () => {
  expect(await run(`${program}ready(); exit(0)`, { env: { pm_id: '0' } })).toMatchObject({ code: 0, stderr: '' })
})
