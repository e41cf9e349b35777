/**
 * Workers that do all a task can do, and note what they have done where it outlives them: in memory that threads share, or in
 * a file that each process appends to.
 */
import { openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { defineWorker } from '@exodos/pool/worker'

let note = () => {}

const acts = {
  fast: ({ id }) => id,
  async: async ({ id }) => id,
  slow: ({ id, ms }, { signal }) => sleep(ms, id, { signal }),
  stubborn: ({ id, ms }) => sleep(ms, id),
  tells: async ({ id, ms }, { progress }) => {
    progress(id)
    await sleep(ms)
    progress(id)
    return id
  },
  spin: ({ id, ms }) => {
    for (const end = performance.now() + ms; performance.now() < end; );
    return id
  },
  hang: () => {
    for (;;);
  },
  never: () => new Promise(() => {}),
  throw: () => {
    throw new RangeError('thrown by the task')
  },
  unclone: () => () => {},
  exit: () => process.exit(3),
  kill: () => process.kill(process.pid, 'SIGKILL'),
  uncaught: () => {
    setTimeout(() => {
      throw new Error('nobody handles this')
    })
    return new Promise(() => {})
  },
  /** Ends well; then its worker dies over another one. */
  bomb: ({ id, ms }) => {
    setTimeout(() => {
      throw new Error('nobody handles this')
    }, ms)
    return id
  },
}

const perform = (input, ctx) => {
  note('starts', input.id)
  if (input.kind === 'hang' || input.kind === 'kill') note('doomed', ctx.worker)
  return acts[input.kind](input, ctx)
}

export default defineWorker({
  init: async ({ data, worker, receipt }) => {
    const { notes, dir } = data
    if (notes) note = (what, at) => Atomics.add(notes[what], at, 1)
    else {
      const fd = openSync(`${dir}/notes`, 'a')
      note = (what, at) => writeSync(fd, `${what} ${at}\n`)
    }
    const file = `${dir}/resource-${worker}`
    if (data.receipts) await receipt.path(file)
    writeFileSync(file, '')
    await sleep(data.pause)
    note('inits', worker)
    return file
  },
  // Whatever it does, it has a name of its own; or one that all have in common, so that nobody knows how long it takes.
  tasks: { any: perform, ...Object.fromEntries(Object.keys(acts).map((kind) => [kind, perform])) },
  dispose: async (file, { signal }) => {
    await sleep(5, undefined, { signal }).catch(() => {})
    rmSync(file)
    note('disposes', Number(file.split('-').at(-1)))
  },
  disposeSync: (file) => {
    rmSync(file)
    note('disposes', Number(file.split('-').at(-1)))
  },
})
