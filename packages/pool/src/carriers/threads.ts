import { MessageChannel, receiveMessageOnPort, Worker } from 'node:worker_threads'
import { type Birth, type Message, NEXT } from '../shared/protocol.js'
import { THREAD } from './bootstrap.js'
import { type Carrier, type CarrierEvents, type CarrierOptions, environmentOf, type StartCarrier } from './carrier.js'

/** A thread that is blocked can be freed, so that its hooks are called: soon. */
const PATIENCE = 500
/** Messages that are read before the event loop has a turn. */
const MOST_AT_ONCE = 64

/** A thread of this process. */
export const startThread: StartCarrier = (birth, options, events) => new ThreadCarrier(birth, options, events)

class ThreadCarrier implements Carrier {
  readonly label: string
  readonly pid = undefined
  readonly threadId: number
  readonly patience = PATIENCE
  private readonly worker: Worker
  /** What nobody has handled in it, or what it has said and can't be read. */
  private problem: unknown
  private readonly port: InstanceType<typeof MessageChannel>['port1']
  private readonly words = new Int32Array(new SharedArrayBuffer(4))

  constructor(birth: Birth, options: CarrierOptions, events: CarrierEvents) {
    const { port1, port2 } = new MessageChannel()
    this.port = port1
    const { env, execArgv, resourceLimits, stdio, name } = options
    const isRead = stdio !== 'inherit'
    try {
      this.worker = new Worker(THREAD, {
        eval: true,
        name,
        stdout: isRead,
        stderr: isRead,
        env: environmentOf(env, birth),
        ...(execArgv && { execArgv: [...execArgv] }),
        ...(resourceLimits && { resourceLimits }),
        workerData: { birth, words: this.words, port: port2 },
        transferList: [port2],
      })
    } catch (error) {
      port1.close()
      throw error
    }
    this.threadId = this.worker.threadId
    this.label = `thread ${this.threadId}`
    // An event costs more than the message: those that have come with it need none.
    port1.on('message', (message: Message) => {
      if (events.message(message)) this.hearMore(events, MOST_AT_ONCE)
    })
    // What it says can't be understood: nobody knows which tasks that was about.
    port1.on('messageerror', (error) => this.refuse(error))
    this.worker.on('error', (error) => {
      this.problem ??= error
    })
    this.worker.once('exit', (code) => {
      // What it has said last may not have been read yet.
      this.hearMore(events, Number.POSITIVE_INFINITY)
      port1.close()
      events.gone({ code, signal: null }, this.problem)
    })
    port1.unref()
    this.worker.unref()
    if (stdio === 'pipe') {
      events.output('stdout', this.worker.stdout)
      events.output('stderr', this.worker.stderr)
    } else if (stdio === 'ignore') {
      this.worker.stdout.resume()
      this.worker.stderr.resume()
    }
  }

  private hearMore(events: CarrierEvents, most: number): void {
    for (let left = most; left > 0; left--) {
      const next = this.receive()
      if (!next) return
      events.message(next.message)
    }
  }

  private receive(): { message: Message } | undefined {
    try {
      return receiveMessageOnPort(this.port)
    } catch (error) {
      this.refuse(error)
      return undefined
    }
  }

  private refuse(error: unknown): void {
    this.problem ??= error
    this.kill()
  }

  get started(): number {
    return Atomics.load(this.words, NEXT)
  }

  post(message: Message, transfer: readonly import('node:worker_threads').TransferListItem[]): void {
    this.port.postMessage(message, transfer)
  }

  takeBack(next: number): number {
    return Atomics.exchange(this.words, NEXT, next)
  }

  kill(): void {
    void this.worker.terminate()
  }

  disposeSync(): void {}
}
