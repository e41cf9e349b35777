// Each request has a scope in the application's scope. It ends with the request; what is still open when the process
// leaves is closed before what it was built upon.
//
//   node server.mjs           then: curl localhost:PORT/order, /fail, /slow, and Ctrl-C
import { createServer } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { closeOnExit, scope } from 'exodos'

const app = scope({ name: 'app' })
app.defer(() => console.log('pool closed'), { name: 'pool' })

/** A pretended transaction: rolled back when it is closed without a commit. */
async function begin(name) {
  let isCommitted = false
  return {
    commit: async () => {
      isCommitted = true
    },
    close: async () => console.log(`${name}: ${isCommitted ? 'committed' : 'rolled back'}`),
  }
}

async function handle(name, request) {
  request.defer(() => console.log(`${name}: upload removed`), { name: 'upload' })
  const transaction = request.use(await begin(name), { name: 'transaction' })
  if (name === '/fail') throw new Error('no such order')
  if (name === '/slow') await wait(60_000)
  await transaction.commit()
}

const server = createServer(async (request, response) => {
  try {
    await app.scope({ name: request.url }).using((scope) => handle(request.url, scope))
    response.end('done\n')
  } catch (error) {
    response.writeHead(500).end(`${error.message}\n`)
  }
})
server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`http://127.0.0.1:${server.address().port}`)
})

// Requests under way have half a second to end by themselves; then their connections are cut.
closeOnExit(server, { name: 'server', phase: 'drain', timeout: '500ms' })
