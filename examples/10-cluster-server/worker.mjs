// One of the workers: it answers, and has a connection of its own, which it closes after its last answer.
import cluster from 'node:cluster'
import { createServer } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { drainHttp } from '@exodos/web'
import { closeOnExit } from 'exodos'

const database = {
  query: async () => {
    await wait(50)
    return `an answer of worker ${cluster.worker.id}\n`
  },
  async end() {
    await wait(50)
    console.log(`worker ${cluster.worker.id} has closed its database`)
  },
}

closeOnExit(database, { name: 'database' })
const server = createServer(async (_, response) => response.end(await database.query()))
drainHttp(server)
server.listen(process.env.PORT ?? 8080, '127.0.0.1')
