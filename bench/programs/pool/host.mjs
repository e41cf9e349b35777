// A pool that is asked, by a line on stdin, for a sample: `host.mjs LIBRARY ENGINE SIZE SERIALIZATION`. Prints JSON for each line.
import { createInterface } from 'node:readline'

const [library, engine, size, serialization] = process.argv.slice(2)
const { make } = await import(`./${library}.mjs`)
const pool = make({ engine, size: Number(size), serialization })

/** So many at a time, for so long: tasks a second. */
async function rate({ name, input, lanes, ms }) {
  let done = 0
  const began = performance.now()
  const lane = async () => {
    let value = input
    if (name === 'echo' || name === 'move') value = new Uint8Array(input)
    while (performance.now() - began < ms) {
      if (name === 'move') value = await pool.run(name, value, [value.buffer])
      else await pool.run(name, value)
      done++
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  return { rate: (done * 1000) / (performance.now() - began) }
}

/** One after another, for so long: microseconds of a round trip. */
async function trips({ ms }) {
  const times = []
  for (const end = performance.now() + ms; performance.now() < end; ) {
    const began = performance.now()
    await pool.run('noop')
    times.push((performance.now() - began) * 1000)
  }
  times.sort((a, b) => a - b)
  return { p50: times[times.length >> 1], p99: times[Math.floor(times.length * 0.99)] }
}

// Until all of it is compiled as it will be.
await rate({ name: 'noop', lanes: 256, ms: 400 })
await trips({ ms: 400 })
console.log('"ready"')
for await (const line of createInterface({ input: process.stdin })) {
  const { kind, ...words } = JSON.parse(line)
  console.log(JSON.stringify(await (kind === 'rate' ? rate(words) : trips(words))))
}
await pool.end()
process.exit()
