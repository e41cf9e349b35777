// What the two programs share: the ways in which they end, when they are to be shown.
import { setTimeout as sleep } from 'node:timers/promises'

const ways = {
  'process.exit()': () => process.exit(),
  'uncaught error': () =>
    setImmediate(() => {
      throw new Error('a mistake in the main thread')
    }),
  'a task never returns': () => setTimeout(() => process.exit(), 100),
}

/** The images again and again, at leisure: what ends the program comes in the middle of it. */
export async function* withoutEnd(images, way) {
  yield* images
  if (way === 'a task never returns') yield 'endless.jpg'
  for (; ; await sleep(50)) yield images[0]
}

export function leaveBy(way, { rows, total }) {
  if (rows.length === total) ways[way]?.()
}
