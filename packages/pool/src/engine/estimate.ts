/** Milliseconds for which nobody's result may wait behind a task. */
const LONG = 5
/** So many tasks after one that took so long another one may do so. */
const WARY = 1000

/** What a task takes, in milliseconds. */
export class Estimate {
  /** In its worker: unknown is long. Believes at once that it has become slow, and slowly the contrary. */
  cost = Number.POSITIVE_INFINITY
  /** To hand its input over: large inputs take longer than small tasks. */
  travel = 0
  private wary = 0

  /** One of them may take long: results of others are sent before it begins. */
  get isUneven(): boolean {
    return this.wary > 0
  }

  add(took: number): void {
    if (took > LONG) this.wary = WARY
    else if (this.wary > 0) this.wary--
    this.cost = took >= this.cost || this.cost === Number.POSITIVE_INFINITY ? took : this.cost + (took - this.cost) / 8
  }

  addTravel(took: number): void {
    this.travel += (took - this.travel) / 8
  }
}
