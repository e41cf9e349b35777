import { writeSync } from 'node:fs'

/** A line of the supervisor's own, on stderr, at once. */
export function say(text: string): void {
  try {
    writeSync(2, `exodos run: ${text}\n`)
  } catch {
    // A closed or full stderr: nothing depends on it.
  }
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
