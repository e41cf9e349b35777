/**
 * Makes finalizers and has their targets collected, batch by batch. Is each called exactly once, and does the heap
 * stay as it is? Prints JSON; exits with 1 if not.
 *
 *     node --expose-gc bench/finalizers-soak.mjs [count]
 */
import { setImmediate as turn } from 'node:timers/promises'
import { finalize, runExitHooks } from 'exodos'

const BATCHES = 50
const WARM_UP = 0.2
/** In MB per 100,000 finalizers. */
const MOST = 1
/** So often the garbage collector is asked for one batch, before what is left of it counts as lost. */
const MOST_ROUNDS = 100

if (!globalThis.gc) throw new Error('Run me with --expose-gc')
const count = Number(process.argv[2] ?? 1_000_000)
const perBatch = Math.ceil(count / BATCHES)

/** How often each was called. Outside of the heap that is measured. */
const calls = new Uint8Array(perBatch * BATCHES)
let called = 0
const callback = (id) => {
  calls[id]++
  called++
}

function make(batch) {
  for (let id = batch * perBatch; id < (batch + 1) * perBatch; id++) {
    finalize({ id }, callback, { args: [id], atExit: id % 2 === 0 })
  }
}

const began = performance.now()
const heap = []
for (let batch = 0; batch < BATCHES; batch++) {
  const all = called + perBatch
  make(batch)
  for (let round = 0; round < MOST_ROUNDS && called < all; round++) {
    // A target is held until the job that made it is over.
    await turn()
    gc()
  }
  await turn()
  gc()
  heap.push({ made: (batch + 1) * perBatch, used: process.memoryUsage().heapUsed })
}
const lost = calls.filter((times) => times === 0).length
// Nothing may be left to call: what is called by an exit, too, was called twice.
await runExitHooks()
const twice = calls.filter((times) => times > 1).length
const slope = leastSquares(heap.slice(BATCHES * WARM_UP).map(({ made, used }) => [made / 100_000, used / 1e6]))

const seconds = (performance.now() - began) / 1000
const rounded = (value) => Number(value.toFixed(3))
console.log(
  JSON.stringify({
    node: process.version,
    count: calls.length,
    lost,
    twice,
    heapMB: [heap[BATCHES * WARM_UP], heap.at(-1)].map(({ used }) => rounded(used / 1e6)),
    slopeMBPer100k: rounded(slope),
    seconds: rounded(seconds),
  }),
)
process.exitCode = lost > 0 || twice > 0 || !(slope < MOST) ? 1 : 0

function leastSquares(points) {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const x = mean(points.map(([at]) => at))
  const y = mean(points.map(([, value]) => value))
  const numerator = mean(points.map(([at, value]) => (at - x) * (value - y)))
  return numerator / mean(points.map(([at]) => (at - x) ** 2))
}
