import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'

const count = (db, range) =>
  db
    .keys(range)
    .all()
    .then((keys) => keys.length)
const all = (name) => ({ gt: `${name}:`, lt: `${name};` })

/** One process at a time has it open. So a step is a whole when its writes are one batch and no other is between. */
export class LevelStore {
  #db
  #last = Promise.resolve()
  #added = 0

  static async open(dir) {
    const db = new ClassicLevel(join(dir, 'db'), { valueEncoding: 'json' })
    await db.open()
    return new LevelStore(db)
  }

  constructor(db) {
    this.#db = db
  }

  /** One after another. */
  #step(body) {
    const step = this.#last.then(() => body(this.#db))
    this.#last = step.catch(() => {})
    return step
  }

  add(job) {
    return this.#step(async (db) => {
      if (await db.get(`job:${job.id}`)) return
      const place = `${Date.now()}:${String(this.#added++).padStart(9, '0')}`
      await db.batch([put(`job:${job.id}`, job), put(`waiting:1:${place}`, job.id)])
    })
  }

  claim(owner) {
    return this.#step(async (db) => {
      const [[key, id] = []] = await db.iterator({ ...all('waiting'), limit: 1 }).all()
      if (!key) return
      await db.batch([del(key), put(`claim:${id}`, owner)])
      return db.get(`job:${id}`)
    })
  }

  finish(job, owner) {
    return this.#step(async (db) => {
      if ((await db.get(`claim:${job.id}`)) !== owner) return false
      const charged = ((await db.get('charged')) ?? 0) + job.pages
      // The mark and its effect in one batch: see store-redis.mjs.
      await db.batch([del(`claim:${job.id}`), put(`done:${job.id}:${owner}`, job), put('charged', charged)])
      return true
    })
  }

  putBack(job, owner) {
    return this.#step(async (db) => {
      if ((await db.get(`claim:${job.id}`)) !== owner) return false
      await db.batch([del(`claim:${job.id}`), put(`job:${job.id}`, job), put(`waiting:0:${job.id}`, job.id)])
      return true
    })
  }

  takeBack() {
    return this.#step(async (db) => {
      const claims = await db.keys(all('claim')).all()
      const ids = claims.map((key) => key.slice('claim:'.length))
      await db.batch([...claims.map(del), ...ids.map((id) => put(`waiting:0:${id}`, id))])
      return ids.length
    })
  }

  overview() {
    return this.#step(async (db) => ({
      waiting: await count(db, all('waiting')),
      claimed: await count(db, all('claim')),
      done: await db.values(all('done')).all(),
      charged: (await db.get('charged')) ?? 0,
    }))
  }

  save(state) {
    return this.#step((db) => db.put('state', state))
  }

  load() {
    return this.#step((db) => db.get('state'))
  }

  close() {
    return this.#step((db) => db.close())
  }
}

function put(key, value) {
  return { type: 'put', key, value }
}

function del(key) {
  return { type: 'del', key }
}
