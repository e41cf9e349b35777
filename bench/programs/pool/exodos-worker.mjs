import { defineWorker } from '@exodos/pool/worker'
import tasks from './tasks.cjs'

const move = (bytes, { transfer }) => {
  transfer(bytes.buffer)
  return bytes
}
// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default defineWorker({ tasks: { ...tasks, move } })
