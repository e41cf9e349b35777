// What waits for the death of an owner, or is started after it; built into a string.
import { setTimeout } from 'node:timers'
import { apply, type Entry, parse } from '../records/lines.js'
import { isSurelyDead, type Owner, parseOwner } from '../records/owner.js'
import { recoverDead, recoverProcess } from './claim.js'
import { nothing, settle } from './settle.js'

const [form = '', state = '', name = ''] = process.argv.slice(-3)

/** The end of the pipe is no proof of death: somebody may have closed it. */
async function untilDead(owner: Owner): Promise<void> {
  for (let pause = 1; !isSurelyDead(owner, state); pause = Math.min(1000, pause * 2))
    await new Promise<void>((resolve) => void setTimeout(resolve, pause))
}

async function* linesOf(input: AsyncIterable<string>): AsyncGenerator<string> {
  let text = ''
  for await (const data of input) {
    const lines = (text + data).split('\n')
    text = lines.pop() as string
    yield* lines
  }
}

/** Keeps the records itself, where nothing can be written to. */
async function hold(): Promise<Map<number, Entry>> {
  const live = new Map<number, Entry>()
  for await (const line of linesOf(process.stdin.setEncoding('utf8'))) {
    const parsed = parse(line)
    if (parsed) apply(live, parsed)
  }
  return live
}

function outliveSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGTSTP', 'SIGBREAK'] as const) {
    try {
      process.on(signal, () => {})
    } catch {
      // This system has no such signal.
    }
  }
}

async function main(): Promise<void> {
  if (form === 'recover') return recoverDead(state)
  const owner = parseOwner(name)
  if (!owner) return
  if (form !== 'after') outliveSignals()
  const held = form === 'after' ? undefined : await hold()
  await untilDead(owner)
  if (form !== 'hold') return recoverProcess(state, owner)
  const ledger = { trying() {}, amend() {}, over() {}, failed() {}, left() {} }
  await settle([...(held as Map<number, Entry>).values()], owner, () => false, ledger, nothing())
}

void main()
