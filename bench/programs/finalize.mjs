// Prints the nanoseconds that one finalizer takes, from its making to its call after its target was collected.
import { finalize } from 'exodos'

const [name] = process.argv.slice(2)
const BATCH = 20_000
const COUNT = 20

let called = 0
const callback = () => {
  called++
}
const registry = new FinalizationRegistry(callback)
const makers = {
  exodos: () => finalize({}, callback),
  'exodos, not at exit': () => finalize({}, callback, { atExit: false }),
  bare: () => registry.register({}, undefined),
}
const make = makers[name]

async function batch() {
  const goal = called + BATCH
  const begin = process.hrtime.bigint()
  for (let i = 0; i < BATCH; i++) make()
  for (let rounds = 0; called < goal && rounds < 50; rounds++) {
    globalThis.gc()
    await new Promise(setImmediate)
  }
  if (called < goal) throw new Error(`${goal - called} were not called`)
  return Number(process.hrtime.bigint() - begin) / BATCH
}
const batches = []
for (let i = -5; i < COUNT; i++) {
  const nanoseconds = await batch()
  if (i >= 0) batches.push(nanoseconds)
}
console.log(batches.sort((a, b) => a - b)[COUNT / 2])
