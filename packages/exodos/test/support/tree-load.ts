import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Program, start } from './program.js'
import { isAlive } from './supervise.js'

/** How a process is started: by Node, with a channel or without; or what doesn't know of exodos. */
type Kind = 'fork' | 'spawn' | 'sh' | 'detached' | 'setsid' | 'job' | 'jobs of a shell'

/** A process of the tree. */
export interface Member {
  /** The way to it: `0` the root, `0.2` its second child, `0.2.5` that one's fifth. */
  readonly name: string
  readonly parent: string
  readonly kind: Kind
  /** Milliseconds that its hook takes; undefined for what has none. */
  readonly ms: number | undefined
}

export interface Tree {
  readonly program: Program
  pid(name: string): number
  /** What the hooks have written down, in order: who begins, who ends. */
  log(): { name: string; what: string }[]
  /** Those that live, of what is below one of them. */
  alive(below?: string): string[]
  /** Milliseconds until none does, or the limit. */
  quiet(limit: number, below?: string): Promise<number>
}

const PLAIN: Kind[] = ['sh', 'detached', 'setsid', 'job']

/** Three levels. A mixed one has a third of plain processes, and a shell in the middle level. */
export function planTree(middles: number, leaves: number, isMixed: boolean): Member[] {
  const count = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
  const names = ['0', ...count(middles).flatMap((m) => [`0.${m}`, ...count(leaves).map((leaf) => `0.${m}.${leaf}`)])]
  return names.map((name, i) => {
    const [, middle = 0, leaf] = name.split('.').map(Number)
    const isPlain = isMixed && leaf !== undefined && leaf % 3 === 2 && middle !== middles
    const isShell = isMixed && leaf === undefined && middle === middles
    const kind = isShell ? 'jobs of a shell' : isPlain ? PLAIN[i % PLAIN.length] : i % 2 === 0 ? 'fork' : 'spawn'
    const parent = name.slice(0, Math.max(0, name.lastIndexOf('.')))
    return { name, parent, kind: kind as Kind, ms: isShell || isPlain ? undefined : 50 + ((i * 37) % 151) }
  })
}

export const isBelow = (name: string, other: string) => other !== name && `${name}.`.startsWith(`${other}.`)

/** Milliseconds: fifty Nodes start on few cores. */
const START = 90_000

/** What each process of the tree does: its hook stands before its children, and so is called after they have ended. */
const source = (plan: readonly Member[]) => `
import { onExit } from 'exodos'
import { fork, spawn } from 'node:child_process'
import { appendFileSync, rmSync, writeFileSync } from 'node:fs'
const plan = ${JSON.stringify(plan)}
const name = process.argv[2] ?? '0'
const { ms } = plan.find((each) => each.name === name)
const note = (what) => appendFileSync('log', name + ' ' + what + '\\n')
writeFileSync('resource-' + name, '')
onExit(async () => {
  note('begins')
  await new Promise((resolve) => setTimeout(resolve, ms))
  rmSync('resource-' + name)
  note('ends')
}, { name })
const childrenOf = (name) => plan.filter(({ parent }) => parent === name)
const { execPath, argv: [, file], env } = process
const stdio = ['ignore', 'ignore', 'inherit']
const script = (name, ...words) => ['-c', 'echo "' + name + ' is $$" >> log; ' + words.join(' ')]
const start = {
  fork: (name) => fork(file, [name], { stdio: [...stdio, 'ipc'] }),
  spawn: (name) => spawn(execPath, [file, name], { stdio, env: { ...env, NODE_OPTIONS: '--import=exodos/register' } }),
  sh: (name) => spawn('sh', script(name, 'sleep 600; true'), { stdio }),
  detached: (name) => spawn('sh', script(name, 'exec sleep 600'), { stdio, detached: true }),
  setsid: (name) => spawn('setsid', ['sh', ...script(name, 'exec sleep 600')], { stdio }),
  job: (name) => spawn('sh', script(name, 'setsid sleep 600 & sleep 600 & wait'), { stdio }),
  'jobs of a shell': (name) => {
    const jobs = childrenOf(name).map((each) => execPath + ' --import exodos/register ' + file + ' ' + each.name + ' &')
    spawn('sh', script(name, ...jobs, 'wait'), { stdio })
  },
}
for (const { name: child, kind } of childrenOf(name)) start[kind](child)
// Nobody may be left to end it.
setTimeout(() => process.exit(), ${2 * START})
note('is ' + process.pid)
`

/** Starts a tree and returns when all of it runs. */
export async function startTree(plan: readonly Member[], command?: (file: string) => string[]): Promise<Tree> {
  // Whatever a process of the tree starts inherits it.
  const mark = `${process.pid}-${performance.now()}`
  const program = start(source(plan), {
    nodeOptions: ['--import', 'exodos/register'],
    env: { EXODOS_TEST_TREE: mark },
    stdio: ['pipe', 'pipe', 'pipe'],
    timeout: 2 * START,
    ...(command && { command }),
  })
  const log = () => lines(join(program.dir, 'log'))
  const pids = new Map<string, number>()
  for (const end = performance.now() + START; pids.size < plan.length; await nap(20)) {
    for (const { name, what } of log()) if (/^is /.test(what)) pids.set(name, Number(what.slice(3)))
    if (performance.now() > end) throw new Error(`${pids.size} of ${plan.length} have come\n${program.printed()}`)
  }
  const alive = (below?: string) => {
    const known = [...pids].filter(([name, pid]) => (below === undefined || isBelow(name, below)) && isAlive(pid))
    return known.length > 0 || below !== undefined ? known.map(([name]) => name) : marked(`EXODOS_TEST_TREE=${mark}`, program)
  }
  return {
    program,
    pid: (name) => pids.get(name) as number,
    log: () => log().filter(({ what }) => !/^is /.test(what)),
    alive,
    async quiet(limit, below) {
      const began = performance.now()
      while (alive(below).length > 0 && performance.now() - began < limit) await nap(10)
      return performance.now() - began
    },
  }
}

function lines(file: string): { name: string; what: string }[] {
  const text = read(file)
  const whole = text
    .slice(0, text.lastIndexOf('\n') + 1)
    .split('\n')
    .filter(Boolean)
  return whole.map((line) => ({ name: line.slice(0, line.indexOf(' ')), what: line.slice(line.indexOf(' ') + 1) }))
}

/** Command lines of those that live and have it in their environment; but for what makes the terminal. */
function marked(entry: string, { child }: Program): string[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== child.pid)
  const found = pids.filter((pid) => read(`/proc/${pid}/environ`).includes(entry) && isAlive(Number(pid)))
  return found.map((pid) => read(`/proc/${pid}/cmdline`).replaceAll('\0', ' '))
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export const nap = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
