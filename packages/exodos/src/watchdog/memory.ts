/**
 * What the thread of the event loop and the watchdog's thread share. Only the first writes, but for `COUNTED`.
 *
 * The step is text between two writes of a sequence number, which is odd while it changes: a loop that blocks never
 * does so in between.
 */
export const BEATS = 0
export const STATE = 1
export const SEQUENCE = 2
export const LENGTH = 3
/** Milliseconds that the watchdog has counted: time in which the process was running. */
export const COUNTED = 4
/** Milliseconds after which the run is over, counted by the watchdog. */
export const LIMIT = 5
const NUMBERS = 6

export const WATCHING = 0
export const STOPPED = 1

const MOST_TEXT = 2000
const encoder = new TextEncoder()

export interface Memory {
  readonly buffer: SharedArrayBuffer
  readonly numbers: Int32Array
  readonly text: Uint8Array
}

export function viewOf(buffer: SharedArrayBuffer = new SharedArrayBuffer(NUMBERS * 4 + MOST_TEXT)): Memory {
  return { buffer, numbers: new Int32Array(buffer, 0, NUMBERS), text: new Uint8Array(buffer, NUMBERS * 4) }
}

export function writeStep({ numbers, text }: Memory, step: string): void {
  Atomics.add(numbers, SEQUENCE, 1)
  const { written } = encoder.encodeInto(step, text)
  Atomics.store(numbers, LENGTH, written)
  Atomics.add(numbers, SEQUENCE, 1)
}

export function readStep({ numbers, text }: Memory): string {
  for (let tries = 0; tries < 100; tries++) {
    const before = Atomics.load(numbers, SEQUENCE)
    // A copy: text can't be decoded where it is shared.
    const copy = text.slice(0, Atomics.load(numbers, LENGTH))
    if (before % 2 === 0 && Atomics.load(numbers, SEQUENCE) === before) return new TextDecoder().decode(copy)
  }
  return ''
}
