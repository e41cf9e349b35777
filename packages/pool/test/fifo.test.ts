import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Fifo } from '../src/engine/fifo.js'
import type { Job } from '../src/engine/job.js'
import { Queue } from '../src/engine/queue.js'

/** What is done to a list, and to an array that is meant to be the same. */
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ kind: 'push' as const }) },
  { weight: 3, arbitrary: fc.constant({ kind: 'shift' as const }) },
  fc.record({ kind: fc.constant('remove' as const), at: fc.nat(8) }),
  fc.record({ kind: fc.constant('unshift' as const), count: fc.nat(3) }),
)

test('a list is what an array would be, whatever is put in and taken out', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 200 }), (operations) => {
      const list = new Fifo<{ n: number }>()
      let model: { n: number }[] = []
      let n = 0
      for (const each of operations) {
        if (each.kind === 'push') {
          const item = { n: n++ }
          list.push(item)
          model.push(item)
        } else if (each.kind === 'shift') expect(list.shift()).toBe(model.shift())
        else if (each.kind === 'remove') {
          const item = model[each.at] ?? { n: -1 }
          expect(list.has(item)).toBe(model.includes(item))
          expect(list.remove(item)).toBe(model.includes(item))
          model = model.filter((other) => other !== item)
        } else {
          const items = Array.from({ length: each.count }, () => ({ n: n++ }))
          list.unshift(items)
          model.unshift(...items)
        }
        expect(list.length).toBe(model.length)
        expect(list.first).toBe(model[0])
        expect([...list]).toEqual(model)
      }
    }),
  )
})

test('a long list gives its places back, and keeps its order', () => {
  const list = new Fifo<number>()
  let next = 0
  for (let n = 0; n < 100_000; n++) {
    list.push(n)
    if (n % 3 === 2) for (let times = 0; times < 2; times++) expect(list.shift()).toBe(next++)
  }
  while (list.length > 0) expect(list.shift()).toBe(next++)
  expect(next).toBe(100_000)
  expect((list as unknown as { items: unknown[] }).items.length).toBeLessThan(10_000)
})

test.each([0, 1, 100])('a queue lets go of tasks that are over, also if %i wait on', (waiting) => {
  const queue = new Queue()
  const jobs = Array.from({ length: 5000 + waiting }, (_, at) => ({ state: 'queued', priority: at % 2 }) as unknown as Job)
  for (const job of jobs) queue.push(job)
  for (const job of jobs.slice(waiting)) {
    job.state = 'over'
    queue.forget()
  }
  expect(queue.length).toBe(waiting)
  const held = (queue as unknown as { lines: Fifo<Job>[] }).lines.reduce((sum, { length }) => sum + length, 0)
  expect(held).toBeLessThanOrEqual(1001 + waiting)
  const rest = Array.from({ length: waiting }, () => queue.shift())
  expect(new Set(rest)).toEqual(new Set(jobs.slice(0, waiting)))
  expect(queue.shift()).toBe(undefined)
})
