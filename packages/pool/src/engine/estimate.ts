/** What a task takes, in milliseconds. */
export class Estimate {
  /** In its worker: unknown is long. Believes at once that it has become slow, and slowly the contrary. */
  cost = Number.POSITIVE_INFINITY
  /** To hand its input over: large inputs take longer than small tasks. */
  travel = 0

  add(took: number): void {
    this.cost = took >= this.cost || this.cost === Number.POSITIVE_INFINITY ? took : this.cost + (took - this.cost) / 8
  }

  addTravel(took: number): void {
    this.travel += (took - this.travel) / 8
  }
}
