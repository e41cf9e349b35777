import { PassThrough } from 'node:stream'

/** What several workers print, in one stream: it ends when the last of them has, once no other will come. */
export class Outputs {
  readonly all = new PassThrough().setMaxListeners(0)
  private open = 0
  private isClosed = false

  add(output: NodeJS.ReadableStream): void {
    this.open++
    output.pipe(this.all, { end: false })
    output.once('close', () => {
      this.open--
      this.endIfOver()
    })
  }

  close(): void {
    this.isClosed = true
    this.endIfOver()
  }

  private endIfOver(): void {
    if (this.isClosed && this.open === 0) this.all.end()
  }
}
