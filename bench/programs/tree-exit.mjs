// A parent that stops its children, by exodos or by hand: `tree-exit.mjs HOW KIND MS COUNT…`. HOW is `exodos` or `plain`; KIND
// is `sleep`, `node`, or `thread`; MS is what a hook takes in each Node; several counts make a tree of so many levels. Prints
// `ready`; leaves by `process.exit` when its stdin says so, and by SIGTERM.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, parentPort, Worker } from 'node:worker_threads'

const file = fileURLToPath(import.meta.url)
const [how, kind, ms, count = 0, ...below] = process.argv.slice(2)
const hook = () => (ms === '0' ? undefined : new Promise((resolve) => setTimeout(resolve, ms)))
const hold = () => setInterval(() => {}, 60_000)
if (how === 'exodos') {
  const { onExit } = await import('exodos')
  onExit(hook)
}

const start = {
  sleep: async () => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' })
    await once(child, 'spawn')
    return child
  },
  node: async () => {
    const args = [...process.execArgv, file, how, kind, ms, ...below]
    // Its stdin is a pipe, too, whose end it sees when we have gone.
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    await once(child.stdout, 'data')
    return child
  },
  thread: async () => {
    const worker = new Worker(file, { argv: [how, kind, ms] })
    await once(worker, 'message')
    return worker
  },
}
const stop = async (child) => {
  if (child instanceof Worker) return child.terminate()
  child.kill()
  return once(child, 'exit')
}

if (isMainThread) {
  const children = []
  // Two at a time: as many as there are processors on a small machine.
  const startSome = async (n) => {
    while (n-- > 0) children.push(await start[kind]())
  }
  await Promise.all([startSome(Math.ceil(count / 2)), startSome(Math.floor(count / 2))])
  const leave = async (exit) => {
    if (how === 'plain') {
      await Promise.all(children.map(stop))
      await hook()
    }
    exit()
  }
  if (how === 'plain') {
    process.once('SIGTERM', () => leave(() => process.kill(process.pid, 'SIGTERM')))
  }
  // Also when whoever asks has gone.
  for (const event of ['data', 'end']) process.stdin.once(event, () => leave(() => process.exit()))
  hold()
  console.log('ready')
} else {
  hold()
  parentPort.postMessage('ready')
}
