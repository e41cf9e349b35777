import { createHttpTerminator } from 'http-terminator'
import { listen, servers } from './app.mjs'

const made = servers('http', 'https')
const terminators = Object.values(made).map((server) => createHttpTerminator({ server, gracefulTerminationTimeout: 10_000 }))
process.once('SIGTERM', async () => {
  await Promise.all(terminators.map((terminator) => terminator.terminate()))
  process.exit(0)
})
await listen(made)
