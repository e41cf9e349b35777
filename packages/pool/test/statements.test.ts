import { expect, test } from 'vitest'
import type { ProgramOptions } from '../../exodos/test/support/program.js'
import { isAlive } from '../../exodos/test/support/supervise.js'
import { type Case, together } from '../../web/test/support/together.js'
import { aftermath, type Engine, startMain } from './support/lives.js'

/** As many were given back as were made, each once, and nothing is left of the program. */
async function showAll(
  engine: Engine,
  main: string,
  ways: string[],
  lines: unknown[],
  seen: object = { code: 0 },
  options?: ProgramOptions,
) {
  const program = startMain(engine, main, options)
  if ('signal' in seen) await program.until('ready').then(() => program.kill(seen.signal as NodeJS.Signals))
  const end = await aftermath(program)
  expect(end, end.stderr).toMatchObject({ went: ways, gone: end.made, left: [], lines, ...seen })
  return end
}

const ENGINES = ['threads', 'processes'] as const
const closed = ['close', 'close']

const statements = (engine: Engine): [name: string, show: () => Promise<unknown>][] => [
  [
    'C76 a busy worker, closed at the deadline: dispose runs',
    () =>
      showAll(
        engine,
        `const pool = make()
        await Promise.all([begun(pool, 'heed'), begun(pool, 'ignore')])
        say(JSON.stringify(await pool.close({ drain: 50 })))`,
        closed,
        [
          'ERR_EXODOS_POOL_CLOSED',
          'ERR_EXODOS_POOL_CLOSED',
          '{"disposed":2,"rescued":0,"killed":0,"tasksDone":1,"tasksHandedOver":0}',
        ],
      ),
  ],
  [
    'C77 closed again while disposing: the dispose completes, and both wait for it',
    async () => {
      await showAll(
        engine,
        `const pool = make()
        await pool.ready
        const given = () => readdirSync(new URL('work', import.meta.url)).length === 0
        const first = pool.close()
        while (pool.stats().workers.some(({ state }) => state !== 'leaving')) await sleep(1)
        const again = pool.close({ drain: 0, dispose: 0 })
        say(String(given()))
        const result = await again
        say(String(given()))
        say(String(result === await first))
        say(String(result === await pool.close()))`,
        closed,
        ['false', 'true', 'true', 'true'],
      )
    },
  ],
  [
    'C78 closed after map: all results, then the disposes',
    async () => {
      const { log } = await showAll(
        engine,
        `const pool = make()
        await pool.ready
        const results = pool.map('wait', Array(20).fill(5), { inFlight: 4 }).toArray()
        const { tasksDone } = await pool.close()
        say((await results).length + ' ' + tasksDone)`,
        closed,
        ['20 20'],
      )
      expect(log.slice(-22).map((line) => line.replace(/ .*/, ''))).toEqual([...Array(20).fill('task'), ...closed])
    },
  ],
  [
    'C80 init throws: ready rejects, and nothing is started any more',
    async () => {
      const { log } = await showAll(
        engine,
        `const pool = make({ size: 4, data: { failing: 1 } })
        const early = told(pool.run('echo', 1))
        await told(pool.ready)
        await early
        for (let i = 0; i < 20; i++) await told(pool.run('echo', i))
        await pool.close()`,
        [],
        Array(22).fill('ERR_EXODOS_WORKER_INIT'),
      )
      expect(log.length).toBeLessThanOrEqual(4)
    },
  ],
  [
    'C81 a task calls process.exit: that one rejects, others finish, the worker is replaced',
    () =>
      showAll(
        engine,
        `const pool = make()
        await pool.broadcast('echo')
        const others = [pool.run('wait', 100), ...Array.from({ length: 20 }, (_, n) => pool.run('echo', n))]
        await pool.run('leave', 3).catch(({ code, started, exit }) => say(JSON.stringify([code, started, exit])))
        say(String((await Promise.all(others)).length))
        say((await workers(pool, 2)).map(({ worker }) => worker === 3).sort().join())
        await pool.close()`,
        [...closed, 'exit'],
        ['["ERR_EXODOS_WORKER_DIED",true,{"code":3,"signal":null}]', '21', 'false,true'],
      ),
  ],
  [
    'C82 an idle worker is killed: the next task succeeds',
    () => {
      const isProcess = engine === 'processes'
      const rounds = [[1, 'retry-not-started'], [2, 'retry-not-started'], ...(isProcess ? [[1, 'retry']] : [])] as const
      return showAll(
        engine,
        `for (const [size, onCrash] of ${JSON.stringify(rounds)}) {
          const pool = make({ size, onCrash, data: { receipts: true } })
          await pool.ready
          await pool.broadcast('echo')
          const [{ pid, worker: victim }] = pool.stats().workers
          // A thread can't be killed: an error ends it.
          if (pid) process.kill(pid, 'SIGKILL')
          else await pool.run('crashLater')
          // Of what was sent to one that was just killed nobody can tell whether it has been started.
          while (onCrash !== 'retry' && pool.stats().workers.some(({ worker }) => worker === victim)) await sleep(1)
          await told(pool.run('echo', size))
          await pool.close()
        }`,
        isProcess ? [...Array(4).fill('close'), ...Array(3).fill('receipt')] : [...Array(3).fill('close'), 'error', 'error'],
        rounds.map(([size]) => `ok ${size}`),
      )
    },
  ],
  ...(['an idle worker', 'a worker that heeds its signal', 'a worker that does not', 'a worker that is blocked'] as const).map(
    (who, at): [string, () => Promise<unknown>] => [
      `C83 main is SIGKILLed, with ${who}: no worker is left after the deadline`,
      async () => {
        const task = ['echo', 'heed', 'ignore', 'spin'][at]
        const program = startMain(
          engine,
          `const pool = make({ timeout: { dispose: 500 } })
          await pool.ready
          ${at > 0 ? `await begun(pool, '${task}', 600_000)` : ''}
          say('pids ' + pool.stats().workers.map(({ pid }) => pid).join(' '))
          hold()`,
        )
        await program.until('pids')
        program.kill('SIGKILL')
        const { lines, signal } = await aftermath(program)
        expect(signal).toBe('SIGKILL')
        expect(
          lines[0]
            ?.split(' ')
            .slice(1)
            .filter((pid) => pid && isAlive(Number(pid))),
        ).toEqual([])
      },
    ],
  ),
  [
    'C84 never closed: disposes run at the exit',
    () => showAll(engine, `const pool = make(); await told(pool.run('wait', 20))`, closed, ['ok waited']),
  ],
  [
    'C84 never closed, SIGTERM: disposes run at the exit',
    () =>
      showAll(engine, `const pool = make(); await pool.ready; hold(); say('ready')`, closed, ['ready'], { signal: 'SIGTERM' }),
  ],
  [
    'C85 run after close: a clear error',
    () =>
      showAll(
        engine,
        `const pool = make({ name: 'images' })
        await pool.ready
        const closing = pool.close()
        const tell = ({ name, code, message }) => say([name, code, message].join(' | '))
        await pool.run('echo', 1).catch(tell)
        await closing
        await pool.run('echo', 1).catch(tell)
        await pool.broadcast('echo', 1).catch(tell)`,
        closed,
        Array(3).fill('PoolError | ERR_EXODOS_POOL_CLOSED | images: the pool is closed'),
      ),
  ],
  [
    'C86 map after close: a clear error',
    () =>
      showAll(
        engine,
        `const pool = make({ name: 'images' })
        await pool.ready
        await pool.close()
        const tell = ({ name, code, message }) => say([name, code, message].join(' | '))
        await pool.map('echo', [1, 2]).toArray().catch(tell)
        try { for await (const result of pool.map('echo', [1, 2])) say(result) } catch (error) { tell(error) }`,
        closed,
        Array(2).fill('PoolError | ERR_EXODOS_POOL_CLOSED | images: the pool is closed'),
      ),
  ],
  [
    'C88 an error that can not be cloned rejects with its name, message and stack',
    () =>
      showAll(
        engine,
        `const pool = make()
        const error = await pool.run('uncloneable').catch((error) => error)
        say([error instanceof Error, error.name, error.message].join())
        say(error.stack.split('\\n')[0])
        say(String(/uncloneable .*worker\\.mjs:/.test(error.stack)))
        await told(pool.run('echo', 'after it'))
        await pool.close()`,
        closed,
        ['true,RangeError,not this one', 'RangeError: not this one', 'true', 'ok after it'],
      ),
  ],
  [
    'C89 creation fails half-way: the workers made are stopped',
    async () => {
      const { made } = await showAll(
        engine,
        `const pool = make({ size: 3, data: { failing: 3 } })
        await told(pool.ready)
        while (pool.stats().workers.length > 0) await sleep(1)`,
        ['init', 'init'],
        ['ERR_EXODOS_WORKER_INIT'],
      )
      expect(made).toEqual([1, 2])
    },
  ],
  [
    'E64 SIGTERM with running and queued tasks: they finish, dispose once a worker',
    () =>
      showAll(
        engine,
        `const pool = make()
        await pool.ready
        for (let n = 0; n < 8; n++) told(pool.run('wait', 20))
        hold()
        say('ready')`,
        closed,
        ['ready', ...Array(8).fill('ok waited')],
        { signal: 'SIGTERM' },
      ),
  ],
  [
    'E64 closed with running and queued tasks: those that were not begun are handed back, dispose once a worker',
    () =>
      showAll(
        engine,
        `const pool = make()
        await pool.ready
        await Promise.all([begun(pool, 'heed'), begun(pool, 'heed')])
        for (let n = 0; n < 8; n++) told(pool.run('wait', 20))
        say(JSON.stringify(await pool.close({ drain: 0 })))`,
        closed,
        [...Array(10).fill('ERR_EXODOS_POOL_CLOSED'), '{"disposed":2,"rescued":0,"killed":0,"tasksDone":2,"tasksHandedOver":8}'],
      ),
  ],
]

for (const engine of ENGINES) {
  const cases = statements(engine).map(([name, show]): Case => [name, async () => void (await show())])
  together(engine, cases, 4)
}

test('C75 as many disposes as inits with `await using`, 40 rounds of 4 workers', async () => {
  // What `await using` does, in the words of a Node that doesn't know it.
  const rounds = `for (let round = 0; round < 40; round++) {
    const pool = make({ size: 4 })
    try { await pool.ready } finally { await pool[Symbol.asyncDispose]() }
  }`
  await Promise.all(
    ENGINES.map(async (engine) => {
      const { made } = await showAll(engine, rounds, Array(160).fill('close'), [], { code: 0 }, { timeout: 110_000 })
      expect(made).toHaveLength(160)
    }),
  )
}, 120_000)
