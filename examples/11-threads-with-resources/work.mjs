// What the two programs share: what a thread does, and the ways in which the program ends.
import { parentPort } from 'node:worker_threads'

const ways = {
  'process.exit() in each thread': (threads) => {
    for (const thread of threads) thread.postMessage('exit')
  },
  'worker.terminate()': async (threads) => {
    await Promise.all(threads.map((thread) => thread.terminate()))
    process.exit()
  },
  'process.exit()': () => process.exit(),
  'uncaught error': () => {
    throw new Error('a mistake in the main thread')
  },
  'a thread never returns': (threads) => {
    threads[1].postMessage('spin')
    setTimeout(() => process.exit(), 100)
  },
}

export function work(directory) {
  parentPort.on('message', (what) => {
    if (what === 'exit') process.exit()
    for (;;);
  })
  parentPort.postMessage(directory)
}

export function leaveWhenTold(threads, directories) {
  process.stdin.once('data', (way) => ways[String(way).trim()](threads)).unref()
  console.log(directories.join(' '))
}
