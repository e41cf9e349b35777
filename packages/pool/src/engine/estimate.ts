/** How long a task takes, in milliseconds: unknown is long. Believes at once that one has become slow, and slowly the contrary. */
export class Estimate {
  cost = Number.POSITIVE_INFINITY

  add(took: number): void {
    this.cost = took >= this.cost || this.cost === Number.POSITIVE_INFINITY ? took : this.cost + (took - this.cost) / 8
  }
}
