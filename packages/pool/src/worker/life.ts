import type { HookContext, onExit } from 'exodos'
import { messageOf } from '../shared/errors.js'
import { pack } from '../shared/pack.js'
import { type Link, ToPool } from '../shared/protocol.js'
import type { DisposeContext } from './definition.js'
import { PATIENT } from './patient.js'
import type { Servant } from './servant.js'

/** Called before `init`: says that this worker leaves, as soon as it does, so that it is given nothing more. */
export function announceLeaving(hook: typeof onExit, servant: Servant, link: Link): void {
  const tell = ({ reason }: HookContext) => {
    quietly(() => {
      servant.stop()
      const isPatient = !servant.asked && PATIENT.includes(reason.kind)
      const problem = reason.kind === 'error' ? pack(reason.error) : undefined
      link.post([ToPool.leaving, wordsFor(reason), isPatient, servant.begun, problem])
    })
  }
  hook(tell, { name: 'pool: tell that the worker leaves', phase: 'announce', sync: true })
  const finish = async ({ reason, signal }: HookContext) => {
    signal.addEventListener('abort', () => servant.abortRunning(signal.reason))
    // What it makes is disposed of then.
    await servant.initialized.catch(() => {})
    if (!servant.asked && PATIENT.includes(reason.kind)) await servant.idle()
    servant.abortRunning(new DOMException(`the worker leaves: ${wordsFor(reason)}`, 'AbortError'))
  }
  hook(finish, { name: 'pool: task in progress', phase: 'drain' })
  // If it returns as late as that it is disposed of next.
  hook(() => servant.initialized.catch(() => {}), { name: 'pool: init', sync: false })
  const { written } = link
  if (written) hook(() => written(), { name: 'pool: results on their way', phase: 'flush', sync: false })
}

/** Called after `init`: `dispose` is a hook, so it is called once on each way out. False when that is over. */
export function disposeOnExit(hook: typeof onExit, servant: Servant, link: Link): boolean {
  const context = (ctx: HookContext): DisposeContext => ({
    reason: servant.asked ?? { kind: ctx.reason.kind },
    signal: ctx.signal,
    remaining: ctx.remaining,
  })
  const tell = (error?: unknown) => quietly(() => link.post([ToPool.disposed, error === undefined ? null : pack(error)]))
  const dispose = async (ctx: HookContext) => {
    try {
      await servant.dispose(context(ctx))
      tell()
    } catch (error) {
      tell(error)
      throw error
    }
  }
  const sync = (ctx: HookContext) => {
    if (servant.disposeSync(context(ctx))) tell()
  }
  try {
    hook(dispose, { name: `dispose: ${link.birth.name}`, sync, timeout: link.birth.disposeTimeout })
    return true
  } catch {
    // The hooks have run meanwhile: `init` has taken longer.
    void servant
      .dispose({ reason: servant.asked ?? { kind: 'exit' }, signal: AbortSignal.abort(), remaining: () => 0 })
      .then(tell, tell)
    return false
  }
}

function wordsFor({ kind, code, signal, error }: HookContext['reason']): string {
  if (kind === 'exit') return `process.exit(${code ?? ''})`
  if (kind === 'error') return messageOf(error)
  return signal ?? kind
}

/** Who is to hear of it may be gone. */
function quietly(act: () => void): void {
  try {
    act()
  } catch {
    // As said.
  }
}
