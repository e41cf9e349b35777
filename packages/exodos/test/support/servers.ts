import { execFile, spawn } from 'node:child_process'
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** A throwaway server on loopback, with an empty directory of its own. */
export interface Server {
  port: number
  /** The connections of that name, as the server sees them. */
  connections(name: string): Promise<number>
  /** Ends it and removes its directory. That happens as well when the tests' process dies, however it does. */
  stop(): Promise<void>
}

interface Kind {
  /** What has to be there: programs, or `undefined` for one that isn't. */
  programs: Record<string, string | undefined>
  /** Shell commands; `$1` is the directory, `$2` the port. */
  prepare: string
  serve: string
  /** Prints a line for each connection, with its name. Fails while the server isn't ready. */
  list: (port: number) => [string, string[]]
}

const kinds = { postgres: postgres(), redis: redis() } satisfies Record<string, Kind>

/** Why a server can't be started here. On CI that is a failure and no reason to skip. */
export function missing(...names: (keyof typeof kinds)[]): string | undefined {
  const programs = names.flatMap((name) => Object.entries(kinds[name].programs))
  const absent = programs.filter(([, path]) => path === undefined).map(([name]) => name)
  if (absent.length === 0) return undefined
  const text = `not installed: ${absent.join(', ')} (apt-get install redis-server postgresql)`
  if (process.env.CI) throw new Error(text)
  return text
}

export async function startServer(name: keyof typeof kinds): Promise<Server> {
  const absent = missing(name)
  if (absent) throw new Error(absent)
  const { prepare, serve, list } = kinds[name]
  const dir = mkdtempSync(join(tmpdir(), `exodos-${name}-`))
  // PostgreSQL refuses to run as root.
  const nobody = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
  if (nobody.uid) chownSync(dir, nobody.uid, nobody.gid)
  const port = await freePort()
  // The shell's input ends with the tests' process, or when we say so.
  const script = `( ${prepare} ) >"$1/log" 2>&1 </dev/null && { ${serve} >>"$1/log" 2>&1 & }
    read -r _; kill -INT $!; wait $!; rm -rf "$1"`
  const keeper = spawn('/bin/sh', ['-c', script, 'sh', dir, String(port)], {
    cwd: dir,
    // Ctrl-C is for the tests' process.
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    ...nobody,
  })
  const gone = new Promise<void>((resolve) => void keeper.once('exit', () => resolve()).once('error', () => resolve()))
  const lines = async () => {
    const [command, args] = list(port)
    const { stdout } = await execute(command, args, { timeout: 5000, cwd: '/' })
    return stdout.split('\n').filter(Boolean)
  }
  const stop = async () => {
    keeper.stdin?.end()
    await gone
    rmSync(dir, { recursive: true, force: true })
  }
  const until = performance.now() + 20_000
  let failure: unknown
  while (performance.now() < until) {
    try {
      await lines()
      return { port, stop, connections: async (name) => (await lines()).filter((line) => line.includes(name)).length }
    } catch (error) {
      failure = error
    }
    await wait(50)
  }
  const log = existsSync(join(dir, 'log')) ? readFileSync(join(dir, 'log'), 'utf8') : ''
  await stop()
  throw new Error(`${name} isn't ready after 20 s: ${failure}\n${log}`)
}

function postgres(): Kind {
  const bin = debianBin()
  const find = (name: string) => existing(join(bin, name)) ?? inPath(name)
  const [initdb, server, psql] = [find('initdb'), find('postgres'), find('psql')]
  return {
    programs: { initdb, postgres: server, psql },
    prepare: `${initdb} -D "$1/data" -U postgres -A trust -E UTF8 --locale=C --no-sync`,
    serve: `${server} -D "$1/data" -c listen_addresses=127.0.0.1 -c port="$2" -c unix_socket_directories="$1" \
      -c fsync=off -c shared_buffers=16MB`,
    list: (port) => [
      psql as string,
      ['-h', '127.0.0.1', '-p', `${port}`, '-U', 'postgres', '-Atc', 'select application_name from pg_stat_activity'],
    ],
  }
}

function redis(): Kind {
  const [server, cli] = [inPath('redis-server'), inPath('redis-cli')]
  return {
    programs: { 'redis-server': server, 'redis-cli': cli },
    prepare: ':',
    serve: `${server} --port "$2" --bind 127.0.0.1 --save '' --appendonly no --dir "$1"`,
    list: (port) => [cli as string, ['-e', '-p', `${port}`, 'client', 'list']],
  }
}

/** Debian keeps a directory a version, outside of PATH. */
function debianBin(): string {
  const root = '/usr/lib/postgresql'
  const versions = existsSync(root) ? readdirSync(root) : []
  const newest = versions.sort((a, b) => Number(b) - Number(a))[0]
  return join(root, newest ?? '', 'bin')
}

function inPath(name: string): string | undefined {
  const dirs = (process.env.PATH ?? '').split(delimiter)
  return dirs.map((dir) => join(dir, name)).find((path) => existing(path))
}

function existing(path: string): string | undefined {
  return existsSync(path) ? path : undefined
}

/** Of loopback. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}
