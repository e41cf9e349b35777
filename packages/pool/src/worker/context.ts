import type { Transferable } from '../shared/protocol.js'
import type { TaskContext } from './definition.js'

/** What a task is given: made for each, so it does nothing until it is asked. */
export class Context implements TaskContext {
  items: Transferable[] | undefined
  isOver = false
  #controller: AbortController | undefined
  #reason: { readonly value: unknown } | undefined
  readonly #tell: (seq: number, value: unknown) => void

  constructor(
    readonly resource: unknown,
    readonly worker: number,
    readonly task: string,
    readonly seq: number,
    tell: (seq: number, value: unknown) => void,
  ) {
    this.#tell = tell
  }

  get signal(): AbortSignal {
    if (!this.#controller) {
      this.#controller = new AbortController()
      if (this.#reason) this.#controller.abort(this.#reason.value)
    }
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#reason ??= { value: reason }
    this.#controller?.abort(reason)
  }

  get progress(): (value: unknown) => void {
    return (value) => {
      if (!this.isOver) this.#tell(this.seq, value)
    }
  }

  get transfer(): (...items: Transferable[]) => void {
    return (...items) => {
      this.items ??= []
      this.items.push(...items)
    }
  }
}
