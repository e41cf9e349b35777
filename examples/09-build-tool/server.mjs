// The server of somebody else: it knows nothing of exodos. Told to end, it answers what is under way.
import { readFile } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'

const directory = process.argv[2]
/** Milliseconds. */
const SLOW = 300

const server = createServer((_, response) => {
  response.flushHeaders()
  setTimeout(() => {
    readFile(join(directory, 'index.html'), (error, page) => response.end(page ?? error.code))
  }, SLOW)
})
server.listen(0, '127.0.0.1', () => console.log(`server: http://127.0.0.1:${server.address().port}`))

for (const signal of ['SIGINT', 'SIGTERM'])
  process.on(signal, () => {
    console.log(`server: ${signal}`)
    server.close()
  })
