/** More than one server: shut down by hand, as its README shows; a signal would leave with the first that is done. */
import gracefulShutdown from 'http-graceful-shutdown'
import { listen, servers } from './app.mjs'

const made = servers('http', 'https')
const shutdowns = Object.values(made).map((server) => gracefulShutdown(server, { signals: '', timeout: 10_000 }))
process.once('SIGTERM', async () => {
  await Promise.all(shutdowns.map((shutdown) => shutdown()))
  process.exit(0)
})
await listen(made)
