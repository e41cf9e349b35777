import type { Scope } from 'exodos'
import { type Birth, type Message, SERVE, type Serve, type Served, ToPool } from '../shared/protocol.js'
import type { Carrier, CarrierEvents, StartCarrier } from './carrier.js'

/** A part of this thread: for tests, for looking into a task with a debugger, and for where there are no threads. */
export const startInline =
  (receipts: Scope): StartCarrier =>
  (birth, _options, events) =>
    new InlineCarrier(birth, receipts.scope({ name: `receipts of worker ${birth.worker}` }), events)

class InlineCarrier implements Carrier {
  readonly label: string
  readonly pid = undefined
  readonly threadId = undefined
  readonly started = undefined
  readonly patience = Number.POSITIVE_INFINITY
  private hear: ((message: Message) => void) | undefined
  private readonly early: Message[] = []
  private served: Served | undefined
  private isGone = false

  constructor(
    birth: Birth,
    /** Made before the pool's hook. */
    private readonly receipts: Scope,
    private readonly events: CarrierEvents,
  ) {
    this.label = `inline worker ${birth.worker}`
    void this.begin(structuredClone(birth)).catch((error) => {
      events.message([ToPool.failed, error])
      this.leave()
    })
  }

  private async begin(birth: Birth): Promise<void> {
    const { default: exported } = (await import(birth.url)) as { default?: { [SERVE]?: Serve; default?: { [SERVE]?: Serve } } }
    const serve = exported?.[SERVE] ?? exported?.default?.[SERVE]
    if (!serve) throw new TypeError(`the default export of ${birth.url}: expected what defineWorker has returned`)
    const listen = (hear: (message: Message) => void) => {
      this.hear = hear
      for (const message of this.early.splice(0)) hear(message)
    }
    const post = (message: Message, transfer: readonly unknown[] = []) => {
      const clone = structuredClone(message, { transfer: transfer as never[] })
      queueMicrotask(() => this.tell(clone))
    }
    this.served = serve({ birth, post, listen }, this.receipts)
  }

  private tell(message: Message): void {
    if (message[0] === ToPool.left) this.leave()
    else if (!this.isGone) this.events.message(message)
  }

  private leave(): void {
    if (!this.isGone) this.events.gone({ code: null, signal: null })
    this.isGone = true
  }

  post(message: Message, transfer: readonly unknown[]): void {
    const clone = structuredClone(message, { transfer: transfer as never[] })
    queueMicrotask(() => {
      if (this.hear) this.hear(clone)
      else this.early.push(clone)
    })
  }

  takeBack(): undefined {
    this.post([2], [])
  }

  /** What runs in this thread can't be ended; nobody waits for it any more. */
  kill(): void {
    this.leave()
  }

  disposeSync(): void {
    this.served?.disposeSync('natural')
  }
}
