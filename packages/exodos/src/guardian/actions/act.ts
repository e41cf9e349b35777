import { lstatSync } from 'node:fs'
import {
  type Action,
  type CallAction,
  DONE,
  type Outcome,
  type PathAction,
  type ProcessAction,
  type SocketAction,
} from '../records/action.js'
import { identityOf } from '../records/identity.js'
import { type Owner, thisOwner } from '../records/owner.js'
import { end } from './end.js'
import { environment, nodeProgram } from './environment.js'
import { erase } from './erase.js'
import { removeLock } from './lock-file.js'
import type { Command, CommandResult, Steps } from './steps.js'

/** Has somebody else who lives recorded the path as well? Then it is his. Throws when it is something below it. */
export type IsWanted = (path: string) => boolean

/** Somebody who lives has recorded what is in a directory that is to be removed. */
export class InUse extends Error {}

/** Somebody who has died, and whose action it was. */
export interface Bequest {
  readonly owner: Owner
  /** Notes what more is known of it now: whoever goes on after our death has to know it, too. */
  amend(action: Action): void
}

/** Does one action: of this process, or one that was left by a dead one. Throws what may be gone at the next try. */
export function* act(action: Action, isWanted: IsWanted, left?: Bequest): Steps<Outcome> {
  switch (action.kind) {
    case 'path':
      if (action.unique) return yield* erase(action.path, action)
      return yield* left ? removeOfDead(action, isWanted, left) : removeOfOurs(action, isWanted)
    case 'socket':
      return yield* removeSocket(action, isWanted, left)
    case 'process':
      return yield* left ? endOfDead(action, left.owner) : end(action)
    case 'command':
      return yield* run(commandOf(action))
    case 'call':
      return yield* run({ ...commandOf({ ...action, argv: callOf(action) }), says: true })
    case 'lock':
      return yield* removeLock(action)
    default:
      // Written down by a version that can do more.
      throw new Error(`a newer exodos is needed for ${(action as { kind: string }).kind}`)
  }
}

/** Somebody who works in a directory of ours, as a child process, may have ended when we have. */
function* removeOfOurs(action: PathAction, isWanted: IsWanted): Steps<Outcome> {
  try {
    return yield* erase(action.path, { ...action, isWanted })
  } catch (error) {
    if (error instanceof InUse) return { later: error.message }
    throw error
  }
}

/** The program that was started anew may be the one that uses the path now. */
function* removeOfDead(action: PathAction, isWanted: IsWanted, { owner, amend }: Bequest): Steps<Outcome> {
  const { path, tree, identity } = action
  if (!identity && owner.namespace !== thisOwner().namespace)
    return { left: `${path} was recorded in another container, where it was another file: it has no identity` }
  const found = identity ?? identityOf(path)
  if (!found) return DONE
  if (!identity) amend({ ...action, identity: found })
  return yield* erase(path, { tree, identity: found, isWanted })
}

function* removeSocket(action: SocketAction, isWanted: IsWanted, left?: Bequest): Steps<Outcome> {
  const { path, identity } = action
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (!stats) return DONE
  if (!stats.isSocket()) return { left: `${path} is not a socket` }
  if (!identity && !left) return { later: `${path}: made() was not called, so it may be ours that is there` }
  const found = identity ?? identityOf(path)
  if (!identity) {
    const isListenedOn = yield { probe: path }
    if (isListenedOn === undefined) throw new Error(`${path}: can't be known yet whether somebody listens there`)
    if (isListenedOn) return { left: `${path}: somebody listens there` }
  }
  if (!found) return DONE
  if (!identity) left?.amend({ ...action, identity: found })
  return yield* erase(path, { tree: false, identity: found, isWanted })
}

/** Pids mean nothing after another boot, and elsewhere. */
function* endOfDead(action: ProcessAction, { boot, namespace }: Owner): Steps<Outcome> {
  const here = thisOwner()
  if (boot !== here.boot) return DONE
  if (namespace !== here.namespace) return { left: `process ${action.pid} is one of another container` }
  return yield* end(action)
}

function* run(command: Command): Steps<Outcome> {
  const result = (yield { run: command }) as CommandResult
  if (result.error) throw result.error
  if (result.timedOut) throw new Error(`not done after ${Math.round(command.timeout)} ms`)
  if (result.code !== 0) throw new Error(result.said || `ended with ${result.signal ?? `exit code ${result.code}`}`)
  return DONE
}

const commandOf = ({ argv, cwd, timeout, env }: Command): Command => ({
  argv,
  cwd,
  timeout,
  env: { ...environment(), ...env },
})

/** In a process of its own: it may hang, throw, or end everything. */
function callOf({ module, export: name, args }: CallAction): string[] {
  const script = `
    const [module, name, args] = JSON.parse(process.argv[1])
    const call = async (it) => {
      if (typeof it[name] !== 'function') throw new Error('there is no function ' + name)
      const result = it[name](...args)
      // What it waits for has come: what it leaves open isn't waited for.
      if (typeof result?.then !== 'function') return
      await result
      process.exit(0)
    }
    import(module).then(call).catch((error) => {
      require('node:fs').writeSync(3, String(error?.message ?? error).slice(0, 1000))
      process.exit(1)
    })`
  return [nodeProgram().command, '--eval', script, '--', JSON.stringify([module, name, args])]
}
