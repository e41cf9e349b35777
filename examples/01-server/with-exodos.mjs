import { configure, onExit } from 'exodos'
import { start } from './app.mjs'

const app = await start()

// All of it together: less than the 10 seconds that containers are usually given before they are killed.
configure({ grace: process.env.EXODOS_GRACE ?? '8s' })

// Phases follow each other; a cleanup that fails or hangs holds up nobody else for ever.
onExit(app.deregister, { phase: 'announce', timeout: '1s' })
onExit(app.finishRequests, { phase: 'drain' })
onExit(app.saveCounters, { phase: 'save' })

// The rest is `release`, newest first: the database closes before the files go.
onExit(app.removePidFile)
onExit(app.removeUploads)
onExit(app.closeDatabase)
