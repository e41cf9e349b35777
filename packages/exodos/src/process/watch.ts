import { placeOf } from '../core/hook.js'
import type { Run } from '../core/run.js'
import { startWatchdog, type Watchdog } from '../watchdog/watchdog.js'
import { areFaked, atEachBeat, ifStillAlive } from './clock.js'
import type { WayOut } from './coordinator.js'
import { parentInTree, showLeaving, showStaying } from './family.js'
import { builtin, realProcess } from './real.js'
import { isSupervised, noteFile, tellLeaving, tellStaying } from './supervised.js'

/** The handles of a thread would be given the numbers of streams that the program has closed, and libuv aborts on that. */
function hasStreams(): boolean {
  try {
    for (const descriptor of [0, 1, 2]) builtin<typeof import('node:fs')>('node:fs').fstatSync(descriptor)
    return true
  } catch {
    return false
  }
}

/** Milliseconds: a run that is over by then needs no watchdog where a parent waits for it. */
const SHORT = 500

/** Keeps the watchdog over runs that leave: started when it is due, told each step, and stopped when the process survives. */
export function watchRuns(out: WayOut): { watch(run: Run | undefined): void; counted(): number } {
  let watchdog: Watchdog | undefined
  let stopBeats = () => {}
  let isStarting = false
  let told = false
  // Of watchdogs that were stopped.
  let countedBefore = 0

  /** A run of synchronous hooks is over before a thread has begun: it is watched only where somebody asked for it. */
  function isDue(run: Run): boolean {
    const { watchdog } = out.policy
    // Beats on faked time say nothing.
    if (!out.host || !out.leaving || watchdog === 'never' || areFaked) return false
    return run.isOthersTurn || isWanted()
  }

  const isWanted = () => out.policy.watchdog === 'always' || isSupervised

  /** What is due because a hook is waited for has time until the listeners that come after ours have been called, too. */
  function startDue(run: Run): void {
    if (isStarting) return
    const isStoppedByParent = out.policy.watchdog !== 'always' && parentInTree() !== undefined
    if (isWanted() && !isStoppedByParent) {
      start(run)
      return
    }
    isStarting = true
    const begin = () => {
      isStarting = false
      if (!watchdog && !run.ended) start(run)
    }
    // A parent watches it as well: fifty threads that are started at once would cost all of them more time than their hooks.
    if (isStoppedByParent) ifStillAlive(SHORT, begin)
    else realProcess.nextTick(begin)
  }

  function start(run: Run): void {
    if (!hasStreams()) return
    watchdog = startWatchdog(builtin('node:worker_threads'), {
      pid: realProcess.pid,
      patience: run.budget.reserve,
      ours: placeOf(new Error())?.replace(/(:\d+){2}$/, ''),
      notes: noteFile(),
    })
    if (!watchdog) return
    stopBeats = atEachBeat(watchdog.beat)
    watchdog.step(run.step)
    watchdog.limit(run.budget.total)
  }

  function stay(): void {
    showStaying()
    if (isSupervised) tellStaying()
  }

  return {
    watch(run) {
      if (!run) {
        countedBefore += watchdog?.counted() ?? 0
        watchdog?.stop()
        watchdog = undefined
        stopBeats()
        if (told) stay()
        told = false
        return
      }
      if (out.leaving && !told) {
        told = true
        showLeaving()
        if (isSupervised) tellLeaving(run.budget.grace)
      }
      if (!watchdog && isDue(run)) startDue(run)
      watchdog?.step(run.step)
      watchdog?.limit(run.budget.total)
    },
    counted: () => countedBefore + (watchdog?.counted() ?? 0),
  }
}
