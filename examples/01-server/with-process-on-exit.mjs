import { start } from './app.mjs'

const app = await start()

// An 'exit' listener can't wait: registry, requests and database need an event loop that still turns.
process.on('exit', () => {
  app.saveCountersSync()
  app.removeUploads()
  app.removePidFile()
})
