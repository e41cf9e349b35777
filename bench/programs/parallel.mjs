// Prints the milliseconds that a thousand members of 5 ms take in one parallel scope, and a thousand such timers at once.
import { setTimeout as sleep } from 'node:timers/promises'
import { scope } from 'exodos'

const MEMBERS = 1000
const work = () => sleep(5)
const all = () => Promise.all(Array.from({ length: MEMBERS }, work))
const filled = () => {
  const owner = scope({ parallel: true })
  for (let i = 0; i < MEMBERS; i++) owner.defer(work)
  return owner
}
const time = async (wait) => {
  const begin = performance.now()
  await wait()
  return performance.now() - begin
}

// What is measured is compiled first, for both.
await all()
await filled().disposeAsync()
const owner = filled()
console.log(JSON.stringify({ critical: await time(all), ours: await time(() => owner.disposeAsync()) }))
