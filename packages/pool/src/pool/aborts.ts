import type { Job } from '../engine/job.js'

/** Jobs by the signal that aborts them: one listener a signal, however many tasks it is given to. */
export class Aborts {
  private readonly jobs = new Map<AbortSignal, Set<Job>>()

  constructor(private readonly abort: (job: Job, reason: unknown) => void) {}

  /** Until the job is over. */
  watch(signal: AbortSignal, job: Job): void {
    let jobs = this.jobs.get(signal)
    if (!jobs) {
      jobs = new Set()
      this.jobs.set(signal, jobs)
      signal.addEventListener('abort', this.hear)
    }
    jobs.add(job)
    job.cleanUp = () => this.forget(signal, job)
  }

  private forget(signal: AbortSignal, job: Job): void {
    const jobs = this.jobs.get(signal)
    jobs?.delete(job)
    if (jobs?.size !== 0) return
    this.jobs.delete(signal)
    signal.removeEventListener('abort', this.hear)
  }

  private readonly hear = ({ target }: Event): void => {
    const signal = target as AbortSignal
    for (const job of [...(this.jobs.get(signal) ?? [])]) this.abort(job, signal.reason)
  }
}
