/** What driver and server agree on without talking: seeded chance, and contents that can be checked. */
import { createHash } from 'node:crypto'

/** A small seeded generator (mulberry32). */
export function chance(seed) {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return {
    next,
    /** An integer, both ends included. */
    between: (low, high) => low + Math.floor(next() * (high - low + 1)),
  }
}

/** The n-th chunk of a content: no two neighbours are alike, so that a lost or doubled one shows. */
export const chunk = (seed, n, size) => Buffer.alloc(size, `${seed}.${n};`)

export const checksum = (...buffers) => {
  const hash = createHash('sha256')
  for (const buffer of buffers) hash.update(buffer)
  return hash.digest('hex')
}
