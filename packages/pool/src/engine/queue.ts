import { Fifo } from './fifo.js'
import type { Job } from './job.js'

/** Jobs that are over, and still in their lines, at least, before they are looked for. */
const MOST_STALE = 1000

/** Jobs of one priority. */
class Line extends Fifo<Job> {
  constructor(readonly priority: number) {
    super()
  }

  /** Lets go of those that are over. */
  sweep(): void {
    this.set([...this].filter(({ state }) => state === 'queued'))
  }
}

/** Jobs that wait: those of higher priority first, else in their order. One that is over meanwhile is passed by. */
export class Queue {
  /** Highest priority first. */
  private lines: Line[] = []
  /** Without those that are over. */
  length = 0
  /** Those that are, or were until their turn came. */
  private stale = 0

  push(job: Job): void {
    this.line(job.priority).push(job)
    this.length++
  }

  /** Back to where they came from. */
  putBack(jobs: readonly Job[]): void {
    for (const priority of new Set(jobs.map((job) => job.priority)))
      this.line(priority).unshift(jobs.filter((job) => job.priority === priority))
    this.length += jobs.length
  }

  /** The next one. */
  peek(): Job | undefined {
    for (let line = this.first(); line; line = this.first()) {
      const job = line.first
      if (job?.state === 'queued') return job
      line.shift()
    }
    return undefined
  }

  shift(): Job | undefined {
    const job = this.peek()
    if (!job) return undefined
    this.first()?.shift()
    this.length--
    return job
  }

  /** One is over. It stays in its line until its turn comes, as long as those aren't many: they hold their inputs. */
  forget(): void {
    this.length--
    this.stale++
    if (this.length === 0) this.lines = []
    else if (this.stale > Math.max(MOST_STALE, this.length)) for (const line of this.lines) line.sweep()
    else return
    this.stale = 0
  }

  private first(): Line | undefined {
    while (this.lines[0]?.length === 0 && this.lines.length > 1) this.lines.shift()
    return this.lines[0]?.length ? this.lines[0] : undefined
  }

  private line(priority: number): Line {
    const [first] = this.lines
    if (first?.priority === priority) return first
    const at = this.lines.findIndex((line) => line.priority <= priority)
    const found = this.lines[at]
    if (found?.priority === priority) return found
    const made = new Line(priority)
    this.lines.splice(at < 0 ? this.lines.length : at, 0, made)
    return made
  }
}
