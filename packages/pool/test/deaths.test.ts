import { expect } from 'vitest'
import { type Case, together } from '../../web/test/support/together.js'
import { aftermath, type Engine, startMain } from './support/lives.js'

type Ways = string[]

interface Death {
  name: string
  /** Done by a program that has a pool of two workers, each with receipts. */
  main: string
  options?: string
  /** Sent when it has said `ready`. */
  kill?: NodeJS.Signals
  seen?: { code: number } | { signal: NodeJS.Signals }
  /** How each promise has settled. */
  settled?: string[]
  /** How each worker that was made has given back what it owned, in the order of the alphabet. Engines without are left out. */
  went: Partial<Record<Engine, Ways>>
}

const all = (went: Ways) => ({ threads: went, processes: went, inline: went })
/** A process that has lost its parent sees that, or is told by the guardian, whichever comes first. */
const ALONE = ['parent', 'signal']
const closed = ['close', 'close']
const replaced = (how: string) => ({ threads: [...closed, how].sort(), processes: [...closed, how].sort() })

const deaths: Death[] = [
  { name: 'close', main: `told(pool.run('echo', 1)); await pool.close()`, settled: ['ok 1'], went: all(closed) },
  { name: 'destroy', main: `await pool.close({ drain: 0 })`, went: all(closed) },
  { name: 'the end, without close', main: `told(pool.run('wait', 50))`, settled: ['ok waited'], went: all(closed) },
  {
    name: 'process.exit() in the parent',
    main: 'process.exit(3)',
    seen: { code: 3 },
    went: { threads: ['worker', 'worker'], processes: ['alone', 'alone'], inline: ['receipt', 'receipt'] },
  },
  {
    name: 'process.exit() in the parent, the host of its exit',
    main: `await import('exodos').then(({ onExit }) => onExit(() => {})); told(pool.run('wait', 50)); process.exit(3)`,
    seen: { code: 3 },
    settled: ['ok waited'],
    went: all(closed),
  },
  {
    name: 'a task throws',
    main: `await told(pool.run('fail', 'row')); await pool.close()`,
    settled: ['RangeError: no such row'],
    went: all(closed),
  },
  {
    name: 'process.exit() in a task',
    main: `await told(pool.run('leave', 1)); await workers(pool, 2); await pool.close()`,
    settled: ['ERR_EXODOS_WORKER_DIED'],
    went: replaced('exit'),
  },
  {
    name: 'an uncaught error in a worker',
    main: `await told(pool.run('crash')); await workers(pool, 2); await pool.close()`,
    settled: ['ERR_EXODOS_WORKER_DIED'],
    went: replaced('error'),
  },
  {
    name: 'SIGKILL of a worker',
    main: `await told(pool.run('kill')); await workers(pool, 2); await pool.close()`,
    settled: ['ERR_EXODOS_WORKER_DIED'],
    went: { processes: [...closed, 'receipt'] },
  },
  {
    name: 'close with an asynchronous task',
    main: `told(pool.run('wait', 200)); told(pool.run('wait', 200)); told(pool.run('echo', 3)); await pool.close()`,
    settled: ['ok 3', 'ok waited', 'ok waited'],
    went: all(closed),
  },
  {
    name: 'destroy with an asynchronous task',
    main: `await Promise.all([begun('heed'), begun('ignore')]); told(pool.run('echo', 3)); await pool.close({ drain: 0 })`,
    settled: Array(3).fill('ERR_EXODOS_POOL_CLOSED'),
    went: all(closed),
  },
  {
    name: 'destroy with a task that blocks for 2.5 s',
    main: `await begun('spin', 2500); await pool.close({ drain: 0 })`,
    settled: ['ERR_EXODOS_POOL_CLOSED'],
    went: { threads: closed, processes: closed },
  },
  {
    name: 'destroy with a task that blocks for longer than dispose may take',
    main: `await begun('spin', 60_000); await pool.close({ drain: 0, dispose: 500 })`,
    settled: ['ERR_EXODOS_POOL_CLOSED'],
    went: { threads: closed, processes: ['close', 'receipt'] },
  },
  {
    name: 'abort of a task that heeds it',
    main: `const end = new AbortController(); await begun('heed', 0, { signal: end.signal }); end.abort(); await pool.run('echo'); await pool.close()`,
    settled: ['AbortError: This operation was aborted'],
    went: all(closed),
  },
  {
    name: 'abort of a task that does not',
    main: `const end = new AbortController(); await begun('ignore', 0, { signal: end.signal }); end.abort()
      await workers(pool, 1, [1, 2]); await pool.close()`,
    options: '{ timeout: { abort: 50 } }',
    settled: ['AbortError: This operation was aborted'],
    went: { ...replaced('abort'), inline: ['abort', ...closed] },
  },
  {
    name: 'SIGTERM of the parent',
    main: `hold(); told(pool.run('wait', 200)); say('ready')`,
    kill: 'SIGTERM',
    seen: { signal: 'SIGTERM' },
    settled: ['ok waited'],
    went: all(closed),
  },
  {
    name: 'SIGTERM of the parent, with a handler of its own',
    main: `hold(); process.on('SIGTERM', () => process.exit(5)); say('ready')`,
    kill: 'SIGTERM',
    seen: { code: 5 },
    went: { threads: ['worker', 'worker'], processes: ['alone', 'alone'], inline: ['receipt', 'receipt'] },
  },
  {
    name: 'SIGKILL of the parent',
    main: `hold(); say('ready')`,
    kill: 'SIGKILL',
    seen: { signal: 'SIGKILL' },
    went: { threads: ['receipt', 'receipt'], processes: ['alone', 'alone'], inline: ['receipt', 'receipt'] },
  },
]

const ENGINES: Engine[] = ['threads', 'processes', 'inline']
const cases = deaths.flatMap((death) =>
  ENGINES.filter((engine) => death.went[engine]).map((engine): Case => [`${engine}: ${death.name}`, () => show(death, engine)]),
)

together('as many are disposed of as were made, each once, and nothing is left', cases, 4)

async function show({ main, options, kill, seen, settled = [], went }: Death, engine: Engine): Promise<void> {
  const program = startMain(
    engine,
    `const pool = make({ data: { receipts: true }, ...${options} })
    await pool.ready
    // One that dies before it has done anything would not be replaced at once.
    await pool.broadcast('echo')
    ${main.replaceAll('begun(', 'begun(pool, ')}`,
  )
  if (kill) {
    await program.until('ready')
    program.kill(kill)
  }
  const end = await aftermath(program)
  const { code, signal } = { code: null, signal: null, ...(seen ?? { code: 0 }) }
  const numbers = went[engine]?.map((_, at) => at + 1)
  const found = {
    went: end.went.map((way) => (ALONE.includes(way) ? 'alone' : way)),
    made: end.made,
    gone: end.gone,
    settled: end.lines.filter((line) => line !== 'ready').sort(),
    left: end.left,
    code: end.code,
    signal: end.signal,
  }
  expect(found, end.stderr).toEqual({ went: went[engine], made: numbers, gone: numbers, settled, left: [], code, signal })
}
