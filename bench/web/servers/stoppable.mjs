import stoppable from 'stoppable'
import { listen, servers } from './app.mjs'

const made = servers('http', 'https')
for (const server of Object.values(made)) stoppable(server, 10_000)
process.once('SIGTERM', async () => {
  await Promise.all(Object.values(made).map((server) => new Promise((done) => server.stop(done))))
  process.exit(0)
})
await listen(made)
