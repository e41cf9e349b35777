import workerpool from 'workerpool'
import tasks from './tasks.cjs'

workerpool.worker({ ...tasks, move: (bytes) => new workerpool.Transfer(bytes, [bytes.buffer]) })
