import { closeSync, openSync, readSync } from 'node:fs'

const SIZE = 1024
const pool = new Uint8Array(SIZE)
let used = SIZE

/** Unguessable bytes as hexadecimal digits. From a pool: to ask for so few takes as long as for many. */
export function randomHex(bytes: number): string {
  if (used + bytes > SIZE) fill()
  used += bytes
  return Buffer.from(pool.buffer, used - bytes, bytes).toString('hex')
}

function fill(): void {
  used = 0
  try {
    // What node:crypto has costs its import, which is more than all of ours.
    const fd = openSync('/dev/urandom', 'r')
    try {
      if (readSync(fd, pool) === SIZE) return
    } finally {
      closeSync(fd)
    }
  } catch {
    // This system has no such file.
  }
  process.getBuiltinModule('node:crypto').randomFillSync(pool)
}
