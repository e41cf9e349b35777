import type { Scope } from 'exodos'
import { pack } from '../shared/pack.js'
import { type Link, type Serve, type Served, ToPool } from '../shared/protocol.js'
import type { DisposeContext } from './definition.js'
import { announceLeaving, disposeOnExit } from './life.js'
import { type AnyDefinition, Servant } from './servant.js'

export const serverOf =
  (definition: AnyDefinition): Serve =>
  (link, receipts) =>
    receipts ? serveInline(definition, link, receipts) : serveAlone(definition, link)

/** The thread, or process, is the worker: it ends by exodos, which calls `dispose` on every way out. */
function serveAlone(definition: AnyDefinition, link: Link): Served {
  const begin = async () => {
    // Where the pool is, and not the worker, nothing of this is loaded.
    const { exit, onExit, scope } = await import('exodos')
    const servant = new Servant(definition, link, scope({ name: 'receipts' }), () => void exit(0))
    announceLeaving(onExit, servant, link)
    if (link.isCut?.()) return exit(0)
    const made = servant.init()
    link.listen(servant.hear)
    try {
      await made
    } catch (error) {
      link.post([ToPool.failed, pack(error)])
      return exit(0)
    }
    if (!disposeOnExit(onExit, servant, link)) return
    link.post([ToPool.ready, ...Object.keys(definition.tasks)])
  }
  void begin()
  return { disposeSync() {} }
}

/** The worker is a part of the pool's thread, which asks it to leave before that ends. */
function serveInline(definition: AnyDefinition, link: Link, receipts: Scope): Served {
  const leave = async () => {
    await servant.initialized.catch(() => {})
    servant.abortRunning(new DOMException('the worker leaves', 'AbortError'))
    await dispose()
    await receipts.disposeAsync().catch(() => {})
    link.post([ToPool.left])
  }
  const servant = new Servant(definition, link, receipts, () => void leave())
  const dispose = async () => {
    const signal = AbortSignal.timeout(link.birth.disposeTimeout)
    const end = performance.now() + link.birth.disposeTimeout
    const remaining = () => Math.max(0, end - performance.now())
    try {
      await servant.dispose({ reason: servant.asked ?? { kind: 'close' }, signal, remaining })
      link.post([ToPool.disposed, null])
    } catch (error) {
      link.post([ToPool.disposed, pack(error)])
    }
  }
  servant.init().then(
    () => link.post([ToPool.ready, ...Object.keys(definition.tasks)]),
    (error) => {
      link.post([ToPool.failed, pack(error)])
      link.post([ToPool.left])
    },
  )
  link.listen(servant.hear)
  const disposeSync = (kind: DisposeContext['reason']['kind']) => {
    const ctx = { reason: { kind }, signal: AbortSignal.abort(), remaining: () => 0 }
    if (servant.disposeSync(ctx)) link.post([ToPool.disposed, null])
  }
  return { disposeSync: disposeSync as Served['disposeSync'] }
}
