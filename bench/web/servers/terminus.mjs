/** One server: each terminus sends the signal again when it is done, whatever others still do. */
import { createTerminus } from '@godaddy/terminus'
import { listen, servers } from './app.mjs'

const made = servers('http')
createTerminus(made.http, { timeout: 10_000, healthChecks: { '/healthcheck': async () => {} } })
await listen(made)
