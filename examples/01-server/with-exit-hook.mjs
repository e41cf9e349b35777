import exitHook, { asyncExitHook } from 'exit-hook'
import { start } from './app.mjs'

const app = await start()

// Synchronous hooks are called first, then all asynchronous ones at once: what has an order is one hook.
exitHook(app.removePidFile)
asyncExitHook(app.deregister, { wait: 1000 })
asyncExitHook(
  async () => {
    await app.finishRequests()
    await app.saveCounters()
    await app.closeDatabase()
    app.removeUploads()
  },
  { wait: 5000 },
)
