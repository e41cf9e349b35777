import type { ChildProcess } from 'node:child_process'
import { type Scope, scope } from 'exodos/lib'
import type { Birth } from '../shared/protocol.js'

/**
 * Has somebody end a pool's child processes when this process is killed: one that is blocked doesn't see that its parent is
 * gone. Each is written down until it has ended.
 */
export class Guards {
  /** Made before the hook that closes the pool, so closed after it: when the workers have left. */
  private readonly scope: Scope

  constructor(private readonly name: string) {
    this.scope = scope({ name: `${name}: processes` })
  }

  readonly guard = (child: ChildProcess, { worker, disposeTimeout }: Birth): void => {
    void this.write(child, worker, disposeTimeout).catch((error) => {
      process.emitWarning(`${this.name}: nobody ends ${child.pid} when this process is killed: ${error.message}`)
    })
  }

  private async write(child: ChildProcess, worker: number, timeout: number): Promise<void> {
    const { durable } = await import('exodos/durable')
    if (child.exitCode !== null || child.signalCode !== null || this.scope.disposed) return
    const own = this.scope.scope({ name: `${this.name} ${worker}` })
    const record = durable.process(child, { group: true, timeout, name: `end ${this.name} ${worker}` })
    own.use(record)
    child.once('exit', () => {
      record.cancel()
      void own.disposeAsync()
    })
  }

  close(): Promise<void> {
    return this.scope.disposeAsync()
  }
}
