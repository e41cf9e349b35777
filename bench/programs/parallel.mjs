// Prints the milliseconds that a thousand members of 5 ms take in one parallel scope, and a thousand such timers at once.
import { setTimeout as sleep } from 'node:timers/promises'
import { scope } from 'exodos'

const MEMBERS = 1000
const ours = scope({ parallel: true })
const work = () => sleep(5)
for (let i = 0; i < MEMBERS; i++) ours.defer(work)

await Promise.all(Array.from({ length: MEMBERS }, work))
let begin = performance.now()
await Promise.all(Array.from({ length: MEMBERS }, work))
const critical = performance.now() - begin
begin = performance.now()
await ours.disposeAsync()
console.log(JSON.stringify({ ours: performance.now() - begin, critical }))
