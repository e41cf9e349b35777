import { onExit } from 'signal-exit'
import { start } from './app.mjs'

const app = await start()

// Called on signals, too, but synchronous as well: registry, requests and database can't be waited for.
onExit(() => {
  app.saveCountersSync()
  app.removeUploads()
  app.removePidFile()
})
