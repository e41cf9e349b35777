import type { Frame, Inspector } from '../watchdog/stuck.js'

/**
 * What Node itself does in `finally` after a callback, by the function that calls it: ended from outside, it is skipped,
 * and the queue of immediates, the count of timers and the stack of async contexts are left as they were. Then other
 * callbacks are lost, the loop never ends or ends too soon, or Node aborts. Names are those of Node 20 to 26.
 */
const REPAIRS: Readonly<Record<string, string>> = {
  // Between two of them there is nothing to do.
  processImmediate: `if (immediate._destroyed) {
    immediate._onImmediate = null
    outstandingQueue.head = immediate._idleNext
  }`,
  // An interval isn't started again: it would be stuck again.
  listOnTimeout: `if (!timer._idleNext && !timer._idlePrev && !timer._destroyed) {
    timer._destroyed = true
    if (timer[kHasPrimitive]) delete knownTimersById[asyncId]
    if (timer[kRefed]) timeoutInfo[0]--
  }`,
}

/** To be called while paused, with Node's own frames, right before what is stuck is ended: leaves Node as after an error thrown there. */
export async function mend(inspector: Inspector, nodes: readonly Frame[]): Promise<void> {
  for (const { callFrameId, functionName } of nodes) {
    const expression = Object.hasOwn(REPAIRS, functionName) && REPAIRS[functionName]
    if (expression)
      await inspector.post('Debugger.evaluateOnCallFrame', { callFrameId, expression, silent: true }).catch(() => {})
  }
  await leaveContexts(inspector).catch(() => {})
}

type RemoteObject = { readonly objectId?: string }
type Property = { readonly name: string; readonly value: RemoteObject }

/**
 * What `await` goes on with may have an async context on Node's stack and no frame of Node's to leave it from. So the
 * function that leaves one is taken from the scope of a public function that uses it.
 */
async function leaveContexts(inspector: Inspector): Promise<void> {
  const expression = "process.getBuiltinModule('node:async_hooks').AsyncResource.prototype.runInAsyncScope"
  const { result } = (await inspector.post('Runtime.evaluate', { expression })) as { result: RemoteObject }
  const scopes = (await propertiesOf(inspector, result)).internal.find(({ name }) => name === '[[Scopes]]')
  for (const scope of (await propertiesOf(inspector, scopes?.value)).own) {
    const emitAfter = (await propertiesOf(inspector, scope.value)).own.find(({ name }) => name === 'emitAfter')
    if (!emitAfter) continue
    const { objectId } = emitAfter.value
    await inspector.post('Runtime.callFunctionOn', { objectId, functionDeclaration: LEAVE_ALL, silent: true })
    return
  }
}

const LEAVE_ALL = `function () {
  const { executionAsyncId } = process.getBuiltinModule('node:async_hooks')
  for (let most = 1000; executionAsyncId() > 0 && most > 0; most--) this(executionAsyncId())
}`

async function propertiesOf(
  inspector: Inspector,
  { objectId }: RemoteObject = {},
): Promise<{ own: readonly Property[]; internal: readonly Property[] }> {
  if (objectId === undefined) return { own: [], internal: [] }
  const answer = await inspector.post('Runtime.getProperties', { objectId, ownProperties: true })
  const { result, internalProperties = [] } = answer as { result: Property[]; internalProperties?: Property[] }
  return { own: result, internal: internalProperties }
}
