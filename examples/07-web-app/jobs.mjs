// Jobs: documents of some pages, rendered page by page. What they have got to is in memory, and handed over by a
// process that leaves.
import { createHash, randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { exiting, track } from 'exodos'

const AT_A_TIME = 20
const PAGE = 50
/** A job that begins with no more pages to go than this is finished on the way out; the others are handed over. */
const SHORT = 4

/** Emits 'page' with a job, whenever one more of its pages is rendered. */
export const progress = new EventEmitter().setMaxListeners(0)

/** Takes jobs out of the store and runs them, until the process leaves. */
export async function runJobs(store) {
  const owner = randomUUID()
  // Those of a process that was killed. Should it be alive after all, work is done twice, its effect isn't: whoever
  // finishes a job must still have claimed it.
  await store.takeBack()
  track(takeJobs(store, owner), { name: 'jobs: take' })
}

async function takeJobs(store, owner) {
  const running = new Set()
  while (!exiting.aborted) {
    const job = running.size < AT_A_TIME && (await store.claim(owner))
    if (job) {
      // Even if the process began to leave meanwhile: `drain` waits for what comes from work that it waits for.
      const run = runOne(job, store, owner).finally(() => running.delete(run))
      running.add(run)
    } else {
      await wait(20)
    }
  }
}

async function runOne(job, store, owner) {
  const handedOver = new AbortController()
  const isShort = job.pages - job.page <= SHORT
  await track(render(job, handedOver.signal, store, owner), {
    name: `job ${job.id}`,
    onExit: isShort ? 'finish' : 'abandon',
    // At once for a long job, and at the end of `drain` for a short one that isn't done by then.
    onAbandon: () => {
      handedOver.abort()
      return store.putBack(job, owner)
    },
  })
}

async function render(job, handedOver, store, owner) {
  job.processes = [...(job.processes ?? []), process.pid]
  while (job.page < job.pages) {
    await wait(PAGE)
    // Nothing changes in a job that has been handed over: another process may have it by now.
    if (handedOver.aborted) return
    // Both in one go. Where a step is more than this, change a copy and assign it at the end.
    job.digest = renderPage(job)
    job.page++
    progress.emit('page', job)
  }
  await store.finish(job, owner)
}

/** A page can't be left out or rendered twice unnoticed: each contains the one before. */
export function renderPage({ id, page, digest = '' }) {
  return createHash('sha256').update(`${digest} ${id} ${page}`).digest('base64url')
}
