import { Redis } from 'ioredis'

const KEYS = { jobs: 'jobs', waiting: 'waiting', claims: 'claims', done: 'done', charged: 'charged' }

// Redis runs a script as a whole: nobody sees a job half finished, and no death leaves one so. A job is marked done by
// the same script that has its effect. In two steps, a process that dies between them would either lose the effect or
// have it again when the job is repeated. (An effect elsewhere, a mail, a payment, can't be in here: give the job's id
// along, so that the other side knows a repetition.)
const SCRIPTS = {
  add: `
    if redis.call('HSETNX', jobs, ARGV[1], ARGV[2]) == 1 then redis.call('RPUSH', waiting, ARGV[1]) end`,
  claim: `
    local id = redis.call('LPOP', waiting)
    if not id then return nil end
    redis.call('HSET', claims, id, ARGV[1])
    return redis.call('HGET', jobs, id)`,
  finish: `
    if redis.call('HGET', claims, ARGV[1]) ~= ARGV[3] then return 0 end
    redis.call('HDEL', claims, ARGV[1])
    redis.call('RPUSH', done, ARGV[2])
    redis.call('INCRBY', charged, ARGV[4])
    return 1`,
  putBack: `
    if redis.call('HGET', claims, ARGV[1]) ~= ARGV[3] then return 0 end
    redis.call('HDEL', claims, ARGV[1])
    redis.call('HSET', jobs, ARGV[1], ARGV[2])
    redis.call('LPUSH', waiting, ARGV[1])
    return 1`,
  takeBack: `
    local ids = redis.call('HKEYS', claims)
    for _, id in ipairs(ids) do redis.call('LPUSH', waiting, id) end
    redis.call('DEL', claims)
    return #ids`,
}

export class RedisStore {
  #redis

  static async open(url, keyPrefix) {
    const redis = new Redis(url, { keyPrefix, lazyConnect: true })
    redis.on('error', (error) => console.error(`redis: ${error.message}`))
    const names = Object.entries(KEYS).map(([name], i) => `local ${name} = KEYS[${i + 1}]\n`)
    for (const [name, lua] of Object.entries(SCRIPTS)) {
      redis.defineCommand(name, { lua: names.join('') + lua, numberOfKeys: names.length })
    }
    await redis.connect()
    return new RedisStore(redis)
  }

  constructor(redis) {
    this.#redis = redis
  }

  #run(script, ...args) {
    return this.#redis[script](...Object.values(KEYS), ...args)
  }

  async add(job) {
    await this.#run('add', job.id, JSON.stringify(job))
  }

  async claim(owner) {
    return JSON.parse(await this.#run('claim', owner))
  }

  async finish(job, owner) {
    return (await this.#run('finish', job.id, JSON.stringify(job), owner, job.pages)) === 1
  }

  async putBack(job, owner) {
    return (await this.#run('putBack', job.id, JSON.stringify(job), owner)) === 1
  }

  takeBack() {
    return this.#run('takeBack')
  }

  async overview() {
    const redis = this.#redis
    const parts = redis.multi().llen(KEYS.waiting).hlen(KEYS.claims).lrange(KEYS.done, 0, -1).get(KEYS.charged)
    const [waiting, claimed, done, charged] = (await parts.exec()).map(([, value]) => value)
    return { waiting, claimed, done: done.map((job) => JSON.parse(job)), charged: Number(charged) }
  }

  async save(state) {
    await this.#redis.set('state', JSON.stringify(state))
  }

  async load() {
    return JSON.parse(await this.#redis.get('state'))
  }

  async close() {
    await this.#redis.quit()
  }
}
