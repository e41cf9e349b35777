import { get } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Inspector, lookWhere, type Stuck } from '../watchdog/stuck.js'
import { connect } from './websocket.js'

/** Where a program's inspector is: at a known URL, or at a port once SIGUSR1 has opened it. */
export type InspectorPlace = { readonly port: number } | { readonly url: string }

/** For Node to open its inspector, in milliseconds: 2 to 34 were measured. Without an answer it is stuck in native code. */
const OPENING = 500
/** For an answer that JavaScript which is stuck gives between two instructions. */
const ANSWER = 1000

/** What was found when a program was looked into. */
export type Found =
  | { readonly state: 'turning' }
  | { readonly state: 'paused' }
  /** Another program has its port. */
  | { readonly state: 'unknown' }
  | {
      readonly state: 'blocked'
      readonly where: Exclude<Stuck['where'], 'debugger'>
      readonly stack: readonly string[]
      readonly freed: boolean
    }

const inNativeCode: Found = { state: 'blocked', freed: false, where: 'native', stack: [] }

/**
 * Looks whether the event loop of a Node program turns, and frees it if it doesn't: says where it is stuck and ends
 * what is being executed there, so that the loop goes on with what waits, a signal among it. `patience` is how long
 * one turn may take, in milliseconds. `open` makes Node open its inspector; `mayFree` is told where it
 * is stuck, and asked whether to go on.
 */
export async function freeLoop(
  pid: number,
  place: InspectorPlace,
  patience: number,
  open: () => void,
  mayFree: (stuck: Stuck) => boolean,
): Promise<Found> {
  const opened = 'port' in place
  const url = opened ? await openAt(place.port, open) : place.url
  if (!url) return inNativeCode
  const inspector = await attach(url)
  try {
    const isTheirs = await isInspectorOf(pid, inspector)
    if (isTheirs !== true) return isTheirs === undefined ? inNativeCode : { state: 'unknown' }
    const found = await look(inspector, patience, mayFree)
    if (found.state === 'paused' || !opened) return found
    // Nobody else is to find it open; what it says to that doesn't matter.
    await inspector.post('Runtime.evaluate', { expression: 'process._debugEnd()' }).catch(() => {})
    return found
  } finally {
    // Node waits with its exit for whoever is connected.
    inspector.close()
  }
}

/** A port may be another program's by now; what is stuck in native code doesn't say whose it is. */
async function isInspectorOf(pid: number, inspector: Attached): Promise<boolean | undefined> {
  const answer = await inspector.post('Runtime.evaluate', { expression: 'process.pid' }).catch(() => undefined)
  return answer === undefined ? undefined : (answer as { result: { value?: unknown } }).result.value === pid
}

/** Does the program stand at a breakpoint of somebody who is debugging it? */
export async function isPaused(place: InspectorPlace): Promise<boolean> {
  const url = 'port' in place ? await urlAt(place.port) : place.url
  if (!url) return false
  const inspector = await attach(url)
  try {
    return (await lookWhere(inspector, ANSWER)).where === 'debugger'
  } finally {
    inspector.close()
  }
}

async function look(inspector: Attached, patience: number, mayFree: (stuck: Stuck) => boolean): Promise<Found> {
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
  const stuck = await lookWhere(inspector, ANSWER)
  if (stuck.where === 'debugger') return { state: 'paused' }
  if (stuck.where === 'native') return inNativeCode
  if (!mayFree(stuck)) return { state: 'turning' }
  // Nothing else may be asked for before this is done: it would be ended in place of what is stuck.
  const freed = await inspector.post('Runtime.terminateExecution').then(
    () => true,
    () => false,
  )
  return { state: 'blocked', freed, where: 'javascript', stack: stuck.stack }
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
  const already = await urlAt(port)
  if (already) return already
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
    const asking = get({ host: '127.0.0.1', port, path: '/json/list', timeout: OPENING, agent: false }, (answer) => {
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
    })
    asking.on('error', () => resolve(undefined))
    asking.on('timeout', () => asking.destroy())
  })
}
