import { parentPort } from 'node:worker_threads'
import tasks from './tasks.cjs'

if (parentPort)
  parentPort.on('message', ([id, name, input]) => {
    if (name !== 'move') return parentPort.postMessage([id, tasks[name](input)])
    parentPort.postMessage([id, input], [input.buffer])
  })
else process.on('message', ([id, name, input]) => process.send([id, tasks[name](input)]))
