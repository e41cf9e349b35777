/**
 * Do pools keep what is over? Tasks of all kinds in threads and in processes, whose workers are recycled, and die now and then:
 * by process.exit, SIGKILL, errors nobody handles, tasks that never return. Prints a line of JSON a minute, and one at the end;
 * exits with 1 when the memory of this process grows, or when a worker, or what one has owned, is left.
 *
 *     EXODOS_SOAK_MINUTES=60 node --expose-gc bench/pool-soak.mjs
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const MINUTES = Number(process.env.EXODOS_SOAK_MINUTES ?? 60)
const WARM_UP = 0.2
/** In MB per 100,000 tasks. */
const MOST = 1
const SIZE = 2
const SAMPLE_EVERY = Math.min(15_000, (MINUTES * 60_000) / 20)
const MARK = 'EXODOS_POOL_SOAK'

if (!globalThis.gc) throw new Error('Run me with --expose-gc')
const dir = mkdtempSync(join(tmpdir(), 'exodos-soak-'))
process.env[MARK] = dir
process.env.EXODOS_STATE_DIR = `${dir}/state`
const { createPool } = await import('@exodos/pool')

const deaths = { threads: ['exit', 'uncaught', 'hang'], processes: ['exit', 'uncaught', 'hang', 'kill', 'outside'] }
const counts = { tasks: 0, ok: 0, failed: 0, kills: 0, restarts: 0, rerun: 0 }
// Node's own listener prints them.
process.removeAllListeners('warning').on('warning', ({ code, stack }) => {
  if (code === 'EXODOS_TASK_RERUN') counts.rerun++
  else if (code !== 'EXODOS_WORKER_DIED') console.error(stack)
})
const pools = Object.keys(deaths).map((engine) => {
  const pool = createPool(new URL('programs/pool/soak-worker.mjs', import.meta.url), {
    name: engine,
    engine,
    data: { dir, name: engine },
    size: SIZE,
    recycle: { tasks: 20_000 },
    timeout: { dispose: '2s', abort: 100 },
    onCrash: 'retry',
    stdio: 'ignore',
  })
  return { engine, pool, newest: 0 }
})
for (const { pool } of pools) await pool.ready

const began = performance.now()
const end = began + MINUTES * 60_000

const samples = []
let told = 0
while (performance.now() < end) {
  const until = Math.min(end, performance.now() + SAMPLE_EVERY)
  const isOn = () => performance.now() < until
  await Promise.all(pools.flatMap((each) => [uses(each, isOn), dies(each, isOn)]))
  for (const { pool } of pools) await whole(pool)
  const sample = await measure()
  samples.push(sample)
  if (performance.now() - began < (told + 1) * 60_000 && performance.now() < end) continue
  told = Math.floor((performance.now() - began) / 60_000)
  console.log(JSON.stringify(sample))
}
const closed = await Promise.all(pools.map(({ pool }) => pool.close()))
// Receipts of those that were killed are done by somebody else.
for (const until = performance.now() + 15_000; performance.now() < until && left().length > 0; ) await sleep(50)
const orphans = left()
const points = samples.slice(Math.ceil(samples.length * WARM_UP))
const slope = leastSquares(points.map(({ tasks, rssMB }) => [tasks / 100_000, rssMB]))
const slopeOfHeap = leastSquares(points.map(({ tasks, heapMB }) => [tasks / 100_000, heapMB]))
console.log(
  JSON.stringify({
    node: process.version,
    minutes: rounded((performance.now() - began) / 60_000),
    ...counts,
    rssMB: [points[0].rssMB, points.at(-1).rssMB],
    slopeMBPer100k: rounded(slope),
    heapSlopeMBPer100k: rounded(slopeOfHeap),
    closed,
    orphans,
  }),
)
process.exitCode = slope < MOST && orphans.length === 0 ? 0 : 1
rmSync(dir, { recursive: true, force: true, maxRetries: 5 })

/** Tasks of all kinds, some hundreds in flight. */
async function uses({ pool }, isOn) {
  const bytes = () => new Uint8Array(4096)
  const kinds = [
    (n) => pool.run('add', [n, 1]),
    (n) => pool.run('add', [n, 1], { key: n % 7, priority: n % 3 }),
    () => pool.run('later', 1, { signal: AbortSignal.timeout(2) }),
    () => pool.run('later', 5, { timeout: 2 }),
    () => pool.run('add', [1, 1], { signal: AbortSignal.abort() }),
    () => pool.run('tell', undefined, { onProgress: () => {} }),
    () => pool.run('fail'),
    () => pool.run('bytes', bytes()),
  ]
  const mapped = async () => {
    const stopAt = Math.floor(Math.random() * 200)
    let n = 0
    for await (const _ of pool.map('add', new Array(100).fill([1, 1]))) {
      counts.ok++
      if (n++ === stopAt) break
    }
    counts.tasks += n
  }
  const user = async () => {
    for (let n = 0; isOn(); n++) {
      // Nine in ten are the fast ones.
      const kind = Math.random() < 0.9 ? kinds[0] : kinds[Math.floor(Math.random() * kinds.length)]
      await settled(kind(n))
    }
  }
  const others = async () => {
    for (; isOn(); await sleep(200)) {
      await mapped().catch(() => counts.failed++)
      await settled(pool.broadcast('add', [1, 1]))
    }
  }
  await Promise.all([...Array.from({ length: 256 }, user), others()])
}

async function settled(promise) {
  counts.tasks++
  try {
    await promise
    counts.ok++
  } catch {
    counts.failed++
  }
}

/** A death every second or so. */
async function dies({ engine, pool }, isOn) {
  for (await sleep(Math.random() * 2000); isOn(); await sleep(Math.random() * 2000)) {
    const how = deaths[engine][Math.floor(Math.random() * deaths[engine].length)]
    counts.kills++
    if (how === 'outside') {
      const { workers } = pool.stats()
      const { pid } = workers[Math.floor(Math.random() * workers.length)] ?? {}
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    } else await settled(pool.run(how, undefined, { timeout: how === 'hang' ? 100 : 10_000 }))
  }
}

/** All workers are there again, and none is leaving. */
async function whole(pool) {
  const isWhole = ({ workers, running }) =>
    running === 0 && workers.length === SIZE && workers.every(({ state }) => state === 'ready')
  for (const until = performance.now() + 60_000; !isWhole(pool.stats()); await sleep(10))
    if (performance.now() > until) throw new Error(`not whole: ${JSON.stringify(pool.stats())}`)
}

async function measure() {
  counts.restarts = 0
  for (const each of pools) {
    each.newest = Math.max(each.newest, ...each.pool.stats().workers.map(({ worker }) => worker))
    counts.restarts += each.newest - SIZE
  }
  const workers = processes().flatMap((pid) => {
    try {
      return rounded(Number(/^VmRSS:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1024)
    } catch {
      return []
    }
  })
  // Twice: finalizers of the first one let go of more.
  for (let n = 0; n < 2; n++) {
    await sleep(50)
    gc()
  }
  return {
    minutes: rounded((performance.now() - began) / 60_000),
    ...counts,
    rssMB: rounded(process.memoryUsage.rss() / 2 ** 20),
    heapMB: rounded(process.memoryUsage().heapUsed / 2 ** 20),
    workersMB: workers,
    handles: process.getActiveResourcesInfo().length,
    files: readdirSync('/proc/self/fd').length,
    processes: workers.length,
  }
}

/** Those of workers, and what they have started. The guardian, which gets another environment, leaves after this process. */
function processes() {
  return readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) &&
        Number(pid) !== process.pid &&
        readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${dir}`)
      )
    } catch {
      // Gone meanwhile, or somebody else's.
      return false
    }
  })
}

function left() {
  return [...processes(), ...readdirSync(dir).filter((name) => name !== 'state')]
}

function rounded(value) {
  return Number(value.toFixed(3))
}

function leastSquares(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const x = mean(points.map(([at]) => at))
  const y = mean(points.map(([, value]) => value))
  return mean(points.map(([at, value]) => (at - x) * (value - y))) / mean(points.map(([at]) => (at - x) ** 2))
}
