/**
 * The watchdog's own thread: it looks at the beats of the event loop, says on stderr where that is stuck, and kills
 * the process at the end of the ladder. It becomes a source string when exodos is built, so it lives without files.
 */
import { rmSync, writeFileSync, writeSync } from 'node:fs'
import { workerData } from 'node:worker_threads'
import { BEATS, COUNTED, LIMIT, readStep, STATE, STOPPED, viewOf } from './memory.js'
import { type Inspector, inNativeCode, lookWhere, type Stuck } from './stuck.js'
import type { Hang, ThreadData } from './watchdog.js'

/** Milliseconds. */
const LOOK = 50
/** What the last steps may take beyond the grace period: the hooks have had it all by then. */
const SLACK = 1000
/** For the inspector to answer: JavaScript that is stuck takes a few milliseconds, on a busy machine many. */
const ANSWER = 1000

const { buffer, pid, patience, ours, notes } = workerData as ThreadData
const memory = viewOf(buffer)
const { numbers } = memory
let beats = 0
let counted = 0
/** Milliseconds since the last beat. */
let stale = 0
let named = false
/** Where it was stuck when it was named. */
let found: Stuck | undefined
let looking = false
/** It stands at somebody's breakpoint, until the loop turns again: nobody is late then, and nobody looks once more. */
let held = false
let last = performance.now()
const timer = setInterval(look, LOOK)

function look(): void {
  if (Atomics.load(numbers, STATE) === STOPPED) {
    clearInterval(timer)
    return
  }
  const now = performance.now()
  // A look that comes late means that the process was stopped: that time doesn't count.
  const delta = Math.min(now - last, 2 * LOOK)
  last = now
  if (!held) counted += delta
  Atomics.store(numbers, COUNTED, counted)
  const beat = Atomics.load(numbers, BEATS)
  if (beat !== beats) {
    if (held && notes) erase(notes)
    held = false
    if (named) say(`the event loop turns again after ${seconds(stale)}`)
    named = false
    stale = 0
    beats = beat
  } else if (!held) stale += delta
  const isOver = counted > Atomics.load(numbers, LIMIT) + SLACK
  if (looking || held) return
  if (isOver || (stale >= patience && !named)) examine(isOver)
}

async function examine(isOver: boolean): Promise<void> {
  looking = true
  const step = readStep(memory)
  const stuck = await lookAgain(isOver)
  looking = false
  if (stuck?.where === 'debugger') {
    counted -= stale
    stale = 0
    held = true
    if (notes) write(notes, { pid, step, blocked: 0, killed: false, ...stuck })
    return
  }
  if (Atomics.load(numbers, STATE) === STOPPED) return
  const hang: Hang = { pid, step, blocked: Math.round(stale), killed: isOver, ...stuck }
  if (stuck && (!named || found?.where !== stuck.where)) {
    named = true
    found = stuck
    say([`the event loop has been blocked for ${seconds(stale)} in ${step}`, ...linesOf(stuck)].join('\n'))
  }
  if (isOver) say(`killed, because the process had not ended after ${seconds(counted)}, in ${step}`)
  if (notes) write(notes, hang)
  if (isOver) process.kill(pid, 'SIGKILL')
}

/** Undefined while the loop turns. What was found in JavaScript before stays; for the rest there is less and less time. */
async function lookAgain(isOver: boolean): Promise<Stuck | undefined> {
  if (stale <= 2 * LOOK) return undefined
  const stuck = await lookFromHere(isOver ? ANSWER / 2 : ANSWER)
  if (stuck.where === 'debugger') return stuck
  if (named && found?.where === 'javascript') return found
  // It came back while it was asked to pause: then what was paused is something else.
  return Atomics.load(numbers, BEATS) === beats ? stuck : inNativeCode
}

/** Node alone lets a thread look into another, and under its permission model it aborts when one tries. */
async function lookFromHere(limit: number): Promise<Stuck> {
  try {
    if (Reflect.has(process, 'permission')) return { where: 'javascript', stack: [] }
    const { Session } = process.getBuiltinModule('node:inspector')
    const session = new Session()
    session.connectToMainThread()
    const inspector: Inspector = {
      post: (method, params = {}) =>
        new Promise((resolve, reject) => {
          session.post(
            method as never,
            params as never,
            ((error: Error | null, result: unknown) => (error ? reject(error) : resolve(result))) as never,
          )
        }),
      on: (event, listener) => session.on(event as never, (({ params }: { params: never }) => listener(params)) as never),
    }
    // Node waits with its exit for whoever is connected.
    inspector.on('NodeRuntime.waitingForDisconnect', () => session.disconnect())
    inspector.post('NodeRuntime.notifyWhenWaitingForDisconnect', { enabled: true }).catch(() => {})
    try {
      return await lookWhere(inspector, limit, undefined, ours)
    } finally {
      session.disconnect()
    }
  } catch {
    return { where: 'javascript', stack: [] }
  }
}

function linesOf({ where, stack }: Stuck): string[] {
  return where === 'native' ? ['    in native code: a blocking call, such as execSync'] : stack.map((line) => `    ${line}`)
}

function say(text: string): void {
  try {
    writeSync(2, `exodos: ${text}\n`)
  } catch {
    // A closed or full stderr: nothing depends on it.
  }
}

function write(file: string, hang: Hang): void {
  try {
    writeFileSync(file, JSON.stringify(hang))
  } catch {
    // The supervisor says less, then.
  }
}

function erase(file: string): void {
  try {
    rmSync(file, { force: true })
  } catch {
    // As above.
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
