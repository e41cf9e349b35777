// What the waiter runs when its owner's pipe has closed; built into a string.
import { setTimeout } from 'node:timers'
import { recover, recoverOwner } from './claim.js'
import { isSurelyDead, parseOwner } from './owner.js'

const [state = '', name] = process.argv.slice(2)

/** The end of the pipe is no proof of death: somebody may have closed it. */
async function untilDead(owner: NonNullable<ReturnType<typeof parseOwner>>): Promise<void> {
  for (let pause = 1; !isSurelyDead(owner); pause = Math.min(1000, pause * 2))
    await new Promise<void>((resolve) => void setTimeout(resolve, pause))
}

async function main(): Promise<void> {
  const owner = name === undefined ? undefined : parseOwner(name)
  if (!owner) await recover(state)
  else {
    await untilDead(owner)
    await recoverOwner(state, owner)
  }
}

void main()
