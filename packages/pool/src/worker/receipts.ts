import type { Scope } from 'exodos'
import type { DurableRecord, durable } from 'exodos/durable'

type Durable = typeof durable
type Kind = 'path' | 'process' | 'command' | 'call' | 'socket'

/**
 * `durable` of `exodos/durable`, for what a worker owns: once `dispose` has done its work they are cancelled. If it hasn't,
 * or couldn't be called, each is done: by the worker as it leaves, or by whoever looks after it when it was killed.
 */
export type Receipts = { readonly [K in Kind]: (...args: Parameters<Durable[K]>) => Promise<ReturnType<Durable[K]>> }

/** The receipts of one worker. */
export class Book {
  readonly receipts: Receipts
  private readonly records: DurableRecord[] = []

  /** `scope` was made before what disposes: it is closed after that, whenever a receipt is written. */
  constructor(
    private readonly scope: Scope,
    private readonly changed: (count: number) => void,
  ) {
    const kinds: Kind[] = ['path', 'process', 'command', 'call', 'socket']
    this.receipts = Object.fromEntries(kinds.map((kind) => [kind, this.write.bind(this, kind)])) as unknown as Receipts
  }

  private async write(kind: Kind, ...args: unknown[]): Promise<DurableRecord> {
    // Few workers need it, and it takes longer to load than all else.
    const { durable } = await import('exodos/durable')
    const record = (durable[kind] as (...args: unknown[]) => DurableRecord)(...args)
    this.records.push(record)
    this.scope.use(record)
    this.changed(this.records.length)
    return record
  }

  /** What they were for has been done. */
  cancel(): void {
    for (const record of this.records.splice(0)) record.cancel()
    this.changed(0)
  }
}
