// What outlives the process: jobs with their results, and the saved state.
//
// Each of these is one step for whoever else uses the store: it happens as a whole or not at all.
//
//   add({ id, pages })      a new job waits; one that is known by its id stays as it is
//   claim(owner)            the job that has waited longest, now the owner's
//   finish(job, owner)      its result, what is charged for it, and that it is done
//   putBack(job, owner)     it waits again, before the others, and keeps its progress
//   takeBack()              all that dead processes have left claimed waits again
//   overview()              { waiting, claimed, done: [job], charged }
//   save(state), load()     the last one that was saved
//
// `finish` and `putBack` do nothing for a job whose claim isn't the owner's (any more), and say so: false.
import { LevelStore } from './store-level.mjs'
import { RedisStore } from './store-redis.mjs'

/** Redis, where there is one; else a database in the directory, for one process at a time. */
export async function openStore(dir) {
  const { REDIS_URL, REDIS_PREFIX = 'web-app:' } = process.env
  return REDIS_URL ? RedisStore.open(REDIS_URL, REDIS_PREFIX) : LevelStore.open(dir)
}
