import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Program, start } from '../../exodos/test/support/program.js'
import { freePort } from '../../exodos/test/support/servers.js'
import { post, web } from './support/app.js'
import { type Seen, users } from './support/load.js'
import { hangUp } from './support/wire.js'

const execute = promisify(execFile)
const nginx = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'].find((path) => existsSync(path))
const reason = nginx ? undefined : 'not installed: nginx (apt-get install nginx)'
if (reason && process.env.CI) throw new Error(reason)

const RESTARTS = 10
let home = ''
beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'exodos-nginx-'))
})
afterAll(() => {
  hangUp()
  rmSync(home, { recursive: true, force: true })
})

/**
 * Nothing here hides a loss: no second try, no marking of an upstream as failed. nginx goes on using the connections that it
 * has, as long as these last.
 */
const conf = (dir: string, port: number) => `
daemon off;
${process.getuid?.() === 0 ? 'user root;' : ''}
worker_processes 1;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path ${dir}/body; proxy_temp_path ${dir}/proxy; fastcgi_temp_path ${dir}/fastcgi;
  uwsgi_temp_path ${dir}/uwsgi; scgi_temp_path ${dir}/scgi;
  keepalive_requests 1000000;
  include ${dir}/upstream.conf;
  server {
    listen 127.0.0.1:${port};
    keepalive_requests 1000000;
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_next_upstream off;
    }
  }
}`

interface Balancer {
  dir: string
  port: number
  reload(): Promise<void>
  stop(): Promise<void>
}

async function startNginx(dir: string): Promise<Balancer> {
  const port = await freePort()
  writeFileSync(join(dir, 'nginx.conf'), conf(dir, port))
  const child = spawn(nginx as string, ['-e', join(dir, 'error.log'), '-c', join(dir, 'nginx.conf')], { stdio: 'ignore' })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  process.once('exit', () => child.kill('SIGKILL'))
  while (!existsSync(join(dir, 'nginx.pid')) || readFileSync(join(dir, 'nginx.pid'), 'utf8') === '') await wait(10)
  return {
    dir,
    port,
    reload: async () => void (await execute(nginx as string, ['-c', join(dir, 'nginx.conf'), '-s', 'reload'])),
    stop: async () => {
      child.kill('SIGTERM')
      await gone
    },
  }
}

const bare = `(server) => onExit(() => new Promise((done) => server.close(done)), { phase: 'drain' })`

/** Answers after some milliseconds; listens where `where` says, a path or a port. */
const app = (drain: string, where: string) => `
  import { createServer } from 'node:http'
  import { onExit } from 'exodos'
  import { drainHttp } from '${web}'
  const bare = ${bare}
  const server = createServer(async (request, response) => {
    for await (const chunk of request) ;
    setTimeout(() => response.end('done'), Math.random() * 10)
  })
  ${drain}
  server.listen(${where}, () => console.log('port ' + server.address().port + ' ready'))`

const drains = { drainHttp: 'drainHttp(server, { readinessDelay: DELAY })', 'bare close()': 'bare(server)' }

const upstream = (where: string) => `upstream app { server ${where} max_fails=0; keepalive 32; }`

/** A restart: the next one listens before the last one is told to leave. */
interface Swap {
  name: string
  readinessDelay: number
  where: (dir: string, n: number) => string
  /** The text that leads nginx to a process. */
  upstream: (dir: string, program: Program) => string
  /** Leads nginx from one to the other. */
  point: (balancer: Balancer, n: number, next: Program, last: Program) => Promise<void>
}

const swaps = {
  // The name of a Unix socket can be given to another one, at once: nginx hasn't to be told, so it keeps its connections.
  socket: {
    name: 'its connections to the last process are in use until that closes them',
    upstream: (dir: string) => upstream(`unix:${dir}/app.sock`),
    readinessDelay: 0,
    where: (dir: string, n: number) => JSON.stringify(join(dir, `${n}.sock`)),
    point: async ({ dir }: Balancer, n: number, _: Program, last: Program) => {
      renameSync(join(dir, `${n}.sock`), join(dir, 'app.sock'))
      last.kill('SIGTERM')
    },
  },
  // A balancer hears of it when the process has been told already, as in Kubernetes: the readiness window is for that.
  reload: {
    name: 'it hears of the next process after the last one was told to leave',
    upstream: (_: string, program: Program) => upstream(`127.0.0.1:${/port (\d+)/.exec(program.printed())?.[1]}`),
    readinessDelay: 700,
    where: () => `0, '127.0.0.1'`,
    point: async ({ dir, reload }: Balancer, _: number, next: Program, last: Program) => {
      last.kill('SIGTERM')
      writeFileSync(join(dir, 'upstream.conf'), swaps.reload.upstream(dir, next))
      await reload()
    },
  },
} satisfies Record<string, Swap>

async function restarts(name: string, swap: Swap, drain: string): Promise<{ seen: Seen; signals: unknown[]; errors: string[] }> {
  const dir = join(home, name)
  mkdirSync(dir)
  const begin = async (n: number) => {
    const source = app(drain.replace('DELAY', String(swap.readinessDelay)), swap.where(dir, n))
    const program = start(source, { timeout: 60_000, env: { EXODOS_GRACE: '3s' } })
    await program.until('ready')
    return program
  }
  const programs = [await begin(0)]
  if (existsSync(join(dir, '0.sock'))) renameSync(join(dir, '0.sock'), join(dir, 'app.sock'))
  writeFileSync(join(dir, 'upstream.conf'), swap.upstream(dir, programs[0] as Program))
  const balancer = await startNginx(dir)
  const { port } = balancer
  const over = new AbortController()
  const load = users(20, post('/', 'x'.repeat(1000)), port, over.signal)
  for (let n = 1; n <= RESTARTS; n++) {
    await wait(250)
    programs.push(await begin(n))
    await swap.point(balancer, n, programs[n] as Program, programs[n - 1] as Program)
  }
  const signals = (await Promise.all(programs.slice(0, -1).map(({ ended }) => ended))).map(({ signal }) => signal)
  over.abort()
  const seen = await load
  programs.at(-1)?.kill('SIGTERM')
  await programs.at(-1)?.ended
  await balancer.stop()
  const errors = readFileSync(join(dir, 'error.log'), 'utf8').match(/^.*\[error\].*$/gm) ?? []
  return { seen, signals, errors }
}

const badGateways = (seen: Seen) => (seen[502] ?? 0) + (seen[504] ?? 0)

describe.skipIf(reason)(`behind nginx${reason ? ` (${reason})` : ''}, ${RESTARTS} restarts under load with POST`, () => {
  test.each(Object.entries(swaps).map(([key, swap]) => ({ key, swap, name: swap.name })))(
    '0 bad gateways: $name',
    async ({ key, swap }) => {
      const [ours, control] = await Promise.all([
        restarts(`${key}-ours`, swap, drains.drainHttp),
        restarts(`${key}-control`, swap, drains['bare close()']),
      ])
      if (process.env.EXODOS_SHOW) console.log(JSON.stringify({ ours: ours.seen, control: control.seen }))
      expect(badGateways(ours.seen)).toBe(0)
      // What is lost beside these, nginx itself loses: when it is reloaded, it closes the idle connections of its clients.
      expect(ours.errors).toEqual([])
      if (key === 'socket') expect(ours.seen.lost).toBe(0)
      expect(ours.seen[200]).toBeGreaterThan(500)
      expect(ours.signals).toEqual(Array(RESTARTS).fill('SIGTERM'))
      // Else this shows nothing.
      expect(badGateways(control.seen)).toBeGreaterThan(0)
    },
    60_000,
  )
})
