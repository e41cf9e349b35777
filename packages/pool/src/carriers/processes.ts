import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { setTimeout } from 'node:timers'
import type { Birth, Message } from '../shared/protocol.js'
import { PROCESS } from './bootstrap.js'
import { type Carrier, type CarrierEvents, type CarrierOptions, environmentOf, type StartCarrier } from './carrier.js'

/** A child process. `guard` is told of each, so that somebody ends it when this process is killed. */
export const startProcess =
  (guard: (child: ChildProcess, birth: Birth) => void): StartCarrier =>
  (birth, options, events) => {
    const carrier = new ProcessCarrier(birth, options, events)
    if (carrier.pid !== undefined) guard(carrier.child, birth)
    return carrier
  }

/** Milliseconds for what a process has said last. */
const LATE = 500

class ProcessCarrier implements Carrier {
  readonly label: string
  readonly pid: number | undefined
  readonly threadId = undefined
  readonly started = undefined
  readonly patience: number
  readonly child: ChildProcess

  constructor(birth: Birth, options: CarrierOptions, events: CarrierEvents) {
    const { env, execArgv = inheritable(process.execArgv), resourceLimits, stdio } = options
    this.patience = birth.disposeTimeout
    const words = [...execArgv, ...limits(resourceLimits), '--eval', PROCESS, '--', birth.url]
    const settings: SpawnOptions = {
      stdio: ['ignore', stdio, stdio, 'ipc'],
      serialization: 'advanced',
      env: environmentOf(env, birth),
      // What a terminal sends is meant for the program, which then closes its pool.
      detached: process.platform !== 'win32',
      windowsHide: true,
    }
    this.child = spawn(process.execPath, words, settings)
    this.pid = this.child.pid
    this.label = `process ${this.pid}`
    this.child.on('message', (told) => {
      const [key, message] = Array.isArray(told) ? (told as unknown[]) : []
      if (key === birth.key) events.message(message as Message)
    })
    let isGone = false
    const gone = (code: number | null, signal: string | null, error?: unknown) => {
      if (!isGone) events.gone({ code, signal }, error)
      isGone = true
    }
    this.child.on('error', (error) => {
      if (this.pid === undefined) gone(null, null, error)
    })
    // 'exit' may come before what it has said last; and somebody may have inherited the channel.
    this.child.once('exit', (code, signal) => {
      this.child.once('disconnect', () => gone(code, signal))
      setTimeout(gone, this.child.connected ? LATE : 0, code, signal)
    })
    if (this.pid === undefined) return
    this.child.unref()
    this.child.channel?.unref()
    try {
      this.child.send(birth as unknown as object, ignore)
    } catch (error) {
      // Data that can be cloned, but not for another process.
      this.kill()
      throw error
    }
    if (stdio !== 'pipe') return
    for (const stream of ['stdout', 'stderr'] as const) {
      const output = this.child[stream] as import('node:net').Socket
      output.unref?.()
      events.output(stream, output)
    }
  }

  post(message: Message): void {
    if (this.child.connected) this.child.send(message, ignore)
  }

  takeBack(): undefined {
    this.post([2])
  }

  /** With what it has started. */
  kill(): void {
    try {
      process.kill(process.platform === 'win32' ? (this.pid as number) : -(this.pid as number), 'SIGKILL')
    } catch {
      this.child.kill('SIGKILL')
    }
  }

  disposeSync(): void {
    // It leaves by itself when it has lost its parent.
    if (this.child.connected) this.child.disconnect()
  }
}

/** Its end is told by 'exit'. */
const ignore = () => {}

function limits(given: CarrierOptions['resourceLimits']): string[] {
  const { maxOldGenerationSizeMb, maxYoungGenerationSizeMb, stackSizeMb } = given ?? {}
  return [
    ...(maxOldGenerationSizeMb ? [`--max-old-space-size=${Math.round(maxOldGenerationSizeMb)}`] : []),
    ...(maxYoungGenerationSizeMb ? [`--max-semi-space-size=${Math.max(1, Math.round(maxYoungGenerationSizeMb / 3))}`] : []),
    ...(stackSizeMb ? [`--stack-size=${Math.round(stackSizeMb * 1000)}`] : []),
  ]
}

/** What is run, or observed, is this program; and a port is taken. */
const OWN =
  /^(-[icep]|-pe|--(interactive|check|eval|print|input-type|test|watch|inspect|debug|cpu-prof|heap-prof|heapsnapshot).*)$/
/** Those of them that take the next word, if they don't have a value by `=`. */
const WITH_VALUE =
  /^(-e|-p|-pe|--(eval|print|input-type|(cpu|heap)-prof-(dir|name|interval)|(inspect|debug)-port|inspect-publish-uid|watch-path|test-.*|heapsnapshot-.*))$/

/** Options of this Node that another one can be started with. */
export function inheritable(options: readonly string[]): string[] {
  return options.filter((option, at) => {
    const previous = options[at - 1] ?? ''
    const isValue = WITH_VALUE.test(previous) && !option.startsWith('-')
    return !OWN.test(option) && !isValue
  })
}
