// What the two programs share: their table, and the ways in which they end, when they are to be shown.
import { setTimeout as sleep } from 'node:timers/promises'

export function print(rows) {
  for (const { title, name, total, worker } of rows)
    console.log(`${title.padEnd(22)}${name.padEnd(11)}${String(total).padStart(7)}   worker ${worker}`)
}

const ways = {
  'process.exit()': () => process.exit(),
  'uncaught error': () => {
    throw new Error('a mistake in the main process')
  },
  'a report that never ends': async (_, runEndless) => {
    await Promise.race([runEndless(), sleep(1000)])
    process.exit()
  },
  'a process is killed': async ([{ pid }]) => {
    process.kill(pid, 'SIGKILL')
    await sleep(200)
  },
}

export async function leaveBy(way, rows, runEndless) {
  if (!way) return
  console.log('ready to leave')
  // A signal comes from outside.
  if (way.startsWith('SIG')) await new Promise(() => setInterval(() => {}, 1000))
  await ways[way](rows, runEndless)
}
