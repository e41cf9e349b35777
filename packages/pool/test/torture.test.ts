import { createInterface } from 'node:readline'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Program as Process, start } from '../../exodos/test/support/program.js'

// A long search: EXODOS_POOL_TASKS=1000000 runs so many tasks. A failure tells its seed: EXODOS_TEST_SEED repeats it.
const wanted = Number(process.env.EXODOS_POOL_TASKS ?? 0)
const seed = Number(process.env.EXODOS_TEST_SEED ?? (wanted ? Date.now() % 2 ** 31 : 8))
const driver = new URL('support/torture.mjs', import.meta.url).href

type EngineName = 'threads' | 'processes' | 'inline'

/** Of all tasks, where there are many; programs, where there are few. */
const engines: { engine: EngineName; share: number; few: number }[] = [
  { engine: 'threads', share: 0.5, few: 8 },
  { engine: 'processes', share: 0.4, few: 8 },
  { engine: 'inline', share: 0.1, few: 12 },
]
/** Of a program, among its steps. */
const fillers = wanted ? 400 : 5
const STEPS = 20

const ms = (max: number) => fc.integer({ min: 0, max })
const optional = <T>(value: fc.Arbitrary<T>, oneIn = 2) =>
  fc.oneof({ weight: oneIn - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value })
/** Of so many steps, if not after all of them: late in long programs, or most of their tasks would not be run. */
const closedBefore = optional(fc.integer({ min: wanted ? STEPS - 3 : 0, max: STEPS }), wanted ? 4 : 2)

/** Before a task is given, in the same turn, or later. */
const abort = fc.oneof(fc.constantFrom('before', 'at once'), ms(20))

const harmless = ['fast', 'async', 'slow', 'stubborn', 'tells', 'throw', 'unclone', 'uncloneable', 'spin'] as const
const lethal = { inline: [], threads: ['exit', 'uncaught', 'bomb'], processes: ['exit', 'uncaught', 'bomb', 'kill'] } as const

const run = (kinds: readonly string[]) =>
  fc.record({
    do: fc.constant('run'),
    kind: fc.constantFrom(...kinds),
    ms: ms(30),
    abort: optional(abort),
    timeout: optional(fc.integer({ min: 1, max: 50 })),
    priority: optional(fc.integer({ min: -1, max: 1 })),
    key: optional(fc.constantFrom('a', 'b', 1)),
  })

/** Ends only because somebody wants it to. */
const endless = (kinds: readonly string[]) =>
  fc
    .record({ kind: fc.constantFrom(...kinds), after: fc.integer({ min: 1, max: 40 }), isAborted: fc.boolean() })
    .map(({ kind, after, isAborted }) => ({ do: 'run', kind, ...(isAborted ? { abort: after } : { timeout: after }) }))

const map = fc.record({
  do: fc.constant('map'),
  kind: fc.constantFrom('fast', 'fast', 'async', 'slow', 'throw'),
  ms: ms(10),
  count: ms(40),
  inFlight: fc.integer({ min: 1, max: 16 }),
  ordered: fc.boolean(),
  stopAfter: optional(fc.integer({ min: 1, max: 10 })),
})

function programs(engine: EngineName) {
  const quiet = [
    { weight: 6, arbitrary: run(harmless) },
    { weight: 2, arbitrary: map },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('broadcast'), ms: ms(10) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('burst'), kind: fc.constantFrom('fast', 'async'), count: ms(60) }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('wait'), ms: ms(60) }) },
    { weight: wanted ? 4 : 1, arbitrary: fc.constantFrom({ do: 'settle' }, { do: 'settle' }, { do: 'room' }) },
    { weight: 1, arbitrary: endless(['never']) },
  ]
  const deadly = [
    { weight: 3, arbitrary: run(['exit', ...lethal[engine]]) },
    { weight: 1, arbitrary: endless(['hang']) },
  ]
  const kill = { weight: 2, arbitrary: fc.record({ do: fc.constant('kill'), which: fc.nat(10) }) }
  const step = fc.oneof(...quiet, ...(engine === 'inline' ? [] : deadly), ...(engine === 'processes' ? [kill] : []))
  const options = fc.record({
    size: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 1, max: 3 })).map(([min, max]) => ({
      min: Math.min(min, max),
      max,
      idleTimeout: 20,
    })),
    onCrash: fc.constantFrom('retry-not-started', 'reject', 'retry'),
    recycle: fc.record(
      { tasks: fc.integer({ min: fillers * 2, max: fillers * 20 }), age: fc.integer({ min: 200, max: 2000 }) },
      { requiredKeys: [] },
    ),
    timeout: fc.record({ abort: fc.integer({ min: 10, max: 200 }), dispose: fc.constant<number>(10_000) }),
    maxQueue: optional(fc.integer({ min: 1, max: fillers * 10 }), wanted ? 20 : 4),
  })
  return fc
    .record({
      options,
      receipts: fc.integer({ min: 0, max: 2 }).map((n) => n === 0),
      named: fc.boolean(),
      pause: ms(10),
      steps: fc.array(step, { minLength: wanted ? STEPS : 1, maxLength: STEPS, size: 'max' }),
      filler: fc.array(fc.constantFrom('fast', 'fast', 'fast', 'async'), { minLength: 1, maxLength: 5 }),
      fillers: fc.constant(fillers),
      close: fc.record({ drain: fc.constantFrom(0, 50, ...Array(wanted ? 8 : 2).fill(5000)), before: closedBefore }),
    })
    .map((program) => {
      // A process that never returns is killed when that is over.
      const hangs = engine === 'processes' && program.steps.some((each) => 'kind' in each && each.kind === 'hang')
      if (hangs) program.options.timeout.dispose = 1500
      return program
    })
}

interface Told {
  wrong: string[]
  counts: Record<string, number>
}

/** Runs one program after another in a process of its own. */
class Driver {
  private readonly process: Process
  private readonly lines: AsyncIterator<string>
  readonly counts: Record<string, number> = { programs: 0 }

  constructor(engine: EngineName, timeout: number) {
    this.process = start(`import ${JSON.stringify(driver)}`, { args: [engine], stdio: ['pipe', 'pipe', 'pipe'], timeout })
    this.lines = createInterface({ input: this.process.child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  }

  async ask(program: unknown): Promise<string[]> {
    this.process.child.stdin?.write(`${JSON.stringify(program)}\n`)
    const { value } = await this.lines.next()
    if (!value) throw new Error(`it has ended: ${(await this.process.ended).stderr}`)
    const { wrong, counts } = JSON.parse(value) as Told
    for (const [name, count] of Object.entries({ programs: 1, ...counts })) this.counts[name] = (this.counts[name] ?? 0) + count
    return wrong
  }

  end() {
    this.process.child.stdin?.end()
    return this.process.ended
  }
}

describe(`random programs, seed ${seed}`, () => {
  const claim = 'settles every promise, runs no task twice without a word, and disposes in every worker'
  for (const { engine, share, few } of engines) {
    const numRuns = wanted ? Math.ceil((wanted * share) / (fillers * STEPS)) : few
    const limit = 120_000 + numRuns * 30_000
    test(
      `of ${engine}: ${claim}`,
      async () => {
        const driver = new Driver(engine, limit)
        const began = performance.now()
        const property = fc.asyncProperty(programs(engine), async (program) => {
          expect(await driver.ask(program)).toEqual([])
        })
        try {
          // To make one that hangs smaller takes too long.
          await fc.assert(property, { seed, numRuns, endOnFailure: true })
          // Nothing of all those pools keeps it alive, or fails on its way out.
          expect(await driver.end()).toMatchObject({ code: 0, signal: null })
        } finally {
          console.log(engine, `${Math.round((performance.now() - began) / 1000)} s`, JSON.stringify(driver.counts))
        }
      },
      limit,
    )
  }
})
