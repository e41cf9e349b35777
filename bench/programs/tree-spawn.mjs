// Starts `true`, on command, as often as the line on stdin says: `tree-spawn.mjs LIVE`, beside so many other children. Prints
// milliseconds each time takes, by the mean: of the call alone, until its end is heard of, and on the processor.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

const others = Array.from({ length: Number(process.argv[2]) }, () => spawn('sleep', ['600'], { stdio: 'ignore' }))
await Promise.all(others.map((child) => once(child, 'spawn')))
const cpu = () => {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}
console.log('ready')
for await (const line of createInterface({ input: process.stdin })) {
  const times = Number(line)
  const sum = { call: 0, end: 0, cpu: -cpu() }
  for (let n = 0; n < times; n++) {
    const began = performance.now()
    const child = spawn('true', { stdio: 'ignore' })
    sum.call += performance.now() - began
    await once(child, 'exit')
    sum.end += performance.now() - began
  }
  sum.cpu += cpu()
  console.log(JSON.stringify({ call: sum.call / times, end: sum.end / times, cpu: sum.cpu / times }))
}
for (const child of others) child.kill('SIGKILL')
