const sleeper = new Int32Array(new SharedArrayBuffer(4))

/** Nothing else happens meanwhile: for where the event loop doesn't turn, or for a millisecond. */
export function sleepSync(ms: number): void {
  if (ms > 0) Atomics.wait(sleeper, 0, 0, ms)
}
