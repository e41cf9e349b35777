/** With the delay its README recommends for Kubernetes; both together fit into the grace period. */
import { setTimeout as wait } from 'node:timers/promises'
import { createTerminus } from '@godaddy/terminus'
import { listen, servers } from './app.mjs'

const made = servers('http')
createTerminus(made.http, {
  timeout: 5000,
  beforeShutdown: () => wait(5000),
  useExit0: true,
  healthChecks: { '/healthcheck': async () => {} },
})
await listen(made)
