// A small upload service with real parts: an HTTP server, a database on disk, a directory of temporary files,
// counters in memory, a place in a registry of services. How it cleans up is decided by who starts it: with-*.mjs.
//
//   node with-exodos.mjs [DIRECTORY [REGISTRY_URL [WAY_OUT]]]
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { appendFileSync, createReadStream, createWriteStream, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { rename, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ClassicLevel } from 'classic-level'
import { hangs, waysOut } from './ways-out.mjs'

/** Starts the service and returns its cleanups, none of which is called yet. */
export async function start() {
  const [dir = mkdtempSync(join(tmpdir(), 'exodos-server-')), registry, wayName] = process.argv.slice(2)
  const at = (name) => join(dir, name)
  const way = [...waysOut, ...hangs].find(({ name }) => name === wayName)
  const counters = { uploads: 0 }

  writeFileSync(at('server.pid'), String(process.pid))
  mkdirSync(at('uploads'))
  const db = new ClassicLevel(at('db'))
  await db.open()

  const server = createServer((request, response) => {
    if (request.url === '/leave') {
      response.end('leaving\n')
      way.inside(server)
    } else {
      upload(request, response).catch((error) => response.destroy(error))
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  if (registry) await fetch(registry, { method: 'PUT' })
  way?.before?.()
  console.log(`http://127.0.0.1:${server.address().port} ${dir}`)

  async function upload(request, response) {
    const name = request.url.slice(1)
    const file = at(`uploads/${process.hrtime.bigint()}`)
    await pipeline(request, createWriteStream(file))
    const hash = createHash('sha256')
    await pipeline(createReadStream(file), hash)
    await db.put(name, hash.digest('hex'))
    counters.uploads++
    await rm(file)
    response.end('stored\n')
  }

  // A cleanup notes its name when it has finished: show.mjs counts these notes.
  const finished = (name) => appendFileSync(at('cleanups.log'), `${name}\n`)

  return {
    /** Tells the registry that no more requests are welcome here. */
    async deregister({ signal } = {}) {
      if (registry) {
        const { ok, status } = await fetch(registry, { method: 'DELETE', signal })
        if (!ok) throw new Error(`the registry answered ${status}`)
      }
      finished('deregister')
    },
    /** Takes no new connection and waits for the answers under way. */
    async finishRequests() {
      await new Promise((resolve) => server.close(resolve))
      finished('finishRequests')
    },
    async saveCounters() {
      // Written beside and renamed: never half a file.
      await writeFile(at('state.json.new'), JSON.stringify(counters))
      await rename(at('state.json.new'), at('state.json'))
      finished('saveCounters')
    },
    saveCountersSync() {
      writeFileSync(at('state.json'), JSON.stringify(counters))
      finished('saveCounters')
    },
    async closeDatabase() {
      await db.close()
      finished('closeDatabase')
    },
    removeUploads() {
      way?.inCleanup?.()
      rmSync(at('uploads'), { recursive: true, force: true })
      finished('removeUploads')
    },
    removePidFile() {
      rmSync(at('server.pid'), { force: true })
      finished('removePidFile')
    },
  }
}
