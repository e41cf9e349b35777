/** Bare `server.close()`: the positive control. */
import { listen, servers } from './app.mjs'

const made = servers('http', 'https', 'h2c', 'h2')
process.once('SIGTERM', async () => {
  await Promise.all(Object.values(made).map((server) => new Promise((done) => server.close(done))))
  process.exit(0)
})
await listen(made)
