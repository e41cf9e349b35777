import { parentPort } from 'node:worker_threads'
import tasks from './tasks.cjs'

const given = (batch) => {
  const results = []
  for (let at = 0; at < batch.length; at += 3) results.push(batch[at], tasks[batch[at + 1]](batch[at + 2]))
  return results
}
if (parentPort) parentPort.on('message', (batch) => parentPort.postMessage(given(batch)))
else process.on('message', (batch) => process.send(given(batch)))
