import { setTimeout as sleep } from 'node:timers/promises'
import { builtin } from '../process/real.js'
import { type Inspector, isPausedByOthers, lookWhere } from '../watchdog/stuck.js'
import { mend } from './mend.js'
import { connect } from './websocket.js'

/** Where a program's inspector is: at a known URL, or at a port once SIGUSR1 has opened it. */
export type InspectorPlace = { readonly port: number } | { readonly url: string }

/** For Node to open its inspector, in milliseconds: 2 to 34 were measured. Without an answer it is stuck in native code. */
const OPENING = 500
/** For an answer that JavaScript which is stuck gives between two instructions. */
const ANSWER = 1000

/** What was found when a program was looked into. */
export type Found =
  | { readonly state: 'turning' | 'paused' }
  /** Its inspector doesn't open or answer, isn't its own, or was left in time. */
  | { readonly state: 'unknown' }
  | { readonly state: 'blocked'; readonly stack: readonly string[]; readonly freed: boolean }

const UNKNOWN: Found = { state: 'unknown' }

/**
 * Looks whether the event loop of a Node program turns, and frees it if it doesn't: says where it is stuck and ends
 * what is being executed there, so that the loop goes on with what waits, a signal among it. `patience` is how long
 * one turn may take, in milliseconds. `open` makes Node open its inspector; `mayFree` is told where it is stuck, and
 * asked whether to go on.
 */
export async function freeLoop(
  pid: number,
  place: InspectorPlace,
  patience: number,
  open: () => void,
  mayFree: (stack: readonly string[]) => boolean,
): Promise<Found> {
  const before = 'port' in place ? await urlAt(place.port) : place.url
  const url = before ?? (await openAt((place as { port: number }).port, open))
  if (!url) return UNKNOWN
  const inspector = await attach(url)
  let isLeaving = false
  // Node waits with its exit for whoever is connected.
  inspector.on('NodeRuntime.waitingForDisconnect', () => {
    isLeaving = true
    inspector.close()
  })
  inspector.post('NodeRuntime.notifyWhenWaitingForDisconnect', { enabled: true }).catch(() => {})
  try {
    if (!(await isInspectorOf(pid, inspector))) return isLeaving ? { state: 'turning' } : UNKNOWN
    const found = await look(inspector, patience, mayFree)
    if (isLeaving && found.state === 'unknown') return { state: 'turning' }
    // What we have opened nobody else is to find open; what it says to that doesn't matter.
    if (!before) await inspector.post('Runtime.evaluate', { expression: 'process._debugEnd()' }).catch(() => {})
    return found
  } finally {
    inspector.close()
  }
}

/** What a program whose loop turns makes of an expression, as text; undefined where it can't be asked. */
export async function ask(pid: number, place: InspectorPlace, open: () => void, expression: string): Promise<string | undefined> {
  const before = 'port' in place ? await urlAt(place.port) : place.url
  const url = before ?? (await openAt((place as { port: number }).port, open))
  if (!url) return undefined
  const inspector = await attach(url)
  try {
    if (!(await isInspectorOf(pid, inspector))) return undefined
    const { result } = (await inspector.post('Runtime.evaluate', { expression })) as { result: { value?: unknown } }
    return typeof result.value === 'string' ? result.value : undefined
  } catch {
    // It is stuck, or has ended.
    return undefined
  } finally {
    // As soon as its loop turns.
    const expression = 'setImmediate(() => process._debugEnd())'
    if (!before) await inspector.post('Runtime.evaluate', { expression }).catch(() => {})
    inspector.close()
  }
}

/** The port may be another program's by now. */
async function isInspectorOf(pid: number, inspector: Attached): Promise<boolean> {
  const answer = await inspector.post('Runtime.evaluate', { expression: 'process.pid' }).catch(() => undefined)
  return (answer as { result: { value?: unknown } } | undefined)?.result.value === pid
}

/** Does the program stand at a breakpoint of somebody who is debugging it? */
export async function isPaused(pid: number, place: InspectorPlace): Promise<boolean> {
  const url = 'port' in place ? await urlAt(place.port) : place.url
  if (!url) return false
  const inspector = await attach(url)
  try {
    return (await isInspectorOf(pid, inspector)) && (await isPausedByOthers(inspector))
  } finally {
    inspector.close()
  }
}

async function look(inspector: Attached, patience: number, mayFree: (stack: readonly string[]) => boolean): Promise<Found> {
  const turn = inspector.post(
    'Runtime.evaluate',
    { expression: 'new Promise((resolve) => setImmediate(resolve))', awaitPromise: true },
    patience,
  )
  const turns = await turn.then(
    () => true,
    () => false,
  )
  if (turns) return { state: 'turning' }
  let ending: Promise<boolean> | undefined
  const { where, stack } = await lookWhere(inspector, ANSWER, async ({ stack }, nodes) => {
    if (!mayFree(stack)) return
    await mend(inspector, nodes)
    // Asked for while it is paused, it comes before anything else is executed.
    ending = inspector.post('Runtime.terminateExecution').then(
      () => true,
      () => false,
    )
  })
  if (where === 'debugger') return { state: 'paused' }
  if (where === 'native') return UNKNOWN
  // Nothing else may be asked for before this is done: it would be ended in place of what is stuck.
  return ending ? { state: 'blocked', stack, freed: await ending } : { state: 'turning' }
}

interface Attached extends Inspector {
  post(method: string, params?: object, limit?: number): Promise<unknown>
  close(): void
}

async function attach(url: string): Promise<Attached> {
  const connection = await connect(url, ANSWER)
  const answers = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()
  const listeners = new Map<string, (params: never) => void>()
  let last = 0
  connection.onText((text) => {
    const { id, error, result, method, params } = JSON.parse(text)
    if (id === undefined) return listeners.get(method)?.(params as never)
    if (error) answers.get(id)?.reject(new Error(error.message))
    else answers.get(id)?.resolve(result)
  })
  connection.onClose(() => {
    for (const { reject } of answers.values()) reject(new Error('the inspector was closed'))
  })
  return {
    on: (event, listener) => void listeners.set(event, listener),
    close: connection.close,
    post: (method, params = {}, limit = ANSWER) =>
      new Promise((resolve, reject) => {
        const id = ++last
        const timer = setTimeout(() => reject(new Error(`${method} was not answered`)), limit)
        const settle =
          <T>(how: (value: T) => void) =>
          (value: T) => {
            clearTimeout(timer)
            answers.delete(id)
            how(value)
          }
        answers.set(id, { resolve: settle(resolve), reject: settle(reject) })
        connection.send(JSON.stringify({ id, method, params }))
      }),
  }
}

/** Opens the inspector and asks for its URL; undefined if it doesn't come. */
async function openAt(port: number, open: () => void): Promise<string | undefined> {
  const end = performance.now() + OPENING
  open()
  while (performance.now() < end) {
    const url = await urlAt(port)
    if (url) return url
    await sleep(10)
  }
  return undefined
}

function urlAt(port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asking = builtin<typeof import('node:http')>('node:http').get(
      { host: '127.0.0.1', port, path: '/json/list', timeout: OPENING, agent: false },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (part) => {
          text += part
        })
        answer.on('end', () => {
          try {
            resolve(JSON.parse(text)[0].webSocketDebuggerUrl)
          } catch {
            resolve(undefined)
          }
        })
      },
    )
    asking.on('error', () => resolve(undefined))
    asking.on('timeout', () => asking.destroy())
  })
}
