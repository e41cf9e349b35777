import { lstatSync } from 'node:fs'
import { end } from './end.js'
import { erase } from './erase.js'
import { identityOf } from './identity.js'
import { removeLock } from './lock-file.js'
import { type Owner, thisOwner } from './owner.js'
import {
  type Action,
  type CallAction,
  DONE,
  type Outcome,
  type PathAction,
  type ProcessAction,
  type SocketAction,
} from './record.js'
import type { Command, CommandResult, Steps } from './steps.js'

/** Somebody who has died, and whose action it was. */
export interface Bequest {
  readonly owner: Owner
  /** Has somebody who lives recorded the path as well, or something below it? Then it is his. */
  isWanted(path: string): boolean
}

/** Does one action: of this process, or one that was left by a dead one. Throws what may be gone at the next try. */
export function* act(action: Action, left?: Bequest): Steps<Outcome> {
  switch (action.kind) {
    case 'path':
      return yield* left && !action.unique ? removeOfDead(action, left) : erase(action.path, action)
    case 'socket':
      return yield* removeSocket(action, left)
    case 'process':
      return yield* left ? endOfDead(action, left.owner) : end(action)
    case 'command':
      return yield* run(action.argv.join(' '), commandOf(action))
    case 'call':
      return yield* run(`${action.export} of ${action.module}`, commandOf({ ...action, argv: callOf(action) }))
    case 'lock':
      return yield* removeLock(action)
    default:
      // Written down by a version that can do more.
      return { left: `a newer exodos is needed for ${(action as { kind: string }).kind}` }
  }
}

/** The program that was started anew may be the one that uses the path now. */
function* removeOfDead({ path, tree, identity }: PathAction, { owner, isWanted }: Bequest): Steps<Outcome> {
  if (!identity && owner.namespace !== thisOwner().namespace)
    return { left: `${path} was recorded in another container, where it was another file: it has no identity` }
  const found = identity ?? identityOf(path)
  return found ? yield* erase(path, { tree, identity: found, isWanted }) : DONE
}

function* removeSocket({ path, identity }: SocketAction, left?: Bequest): Steps<Outcome> {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  if (!stats) return DONE
  if (!stats.isSocket()) return { left: `${path} is not a socket` }
  const found = identity ?? identityOf(path)
  if (!identity) {
    const isListenedOn = yield { probe: path }
    if (isListenedOn === undefined) throw new Error(`${path}: can't be known yet whether somebody listens there`)
    if (isListenedOn) return { left: `${path}: somebody listens there` }
  }
  return found ? yield* erase(path, { tree: false, identity: found, isWanted: left?.isWanted }) : DONE
}

/** Pids mean nothing after another boot, and elsewhere. */
function* endOfDead(action: ProcessAction, { boot, namespace }: Owner): Steps<Outcome> {
  const here = thisOwner()
  if (boot !== here.boot) return DONE
  if (namespace !== here.namespace) return { left: `process ${action.pid} is one of another container` }
  return yield* end(action)
}

function* run(what: string, command: Command): Steps<Outcome> {
  const result = (yield { run: command }) as CommandResult
  if (result.error) throw result.error
  if (result.timedOut) throw new Error(`${what}: not done after ${command.timeout} ms`)
  if (result.code !== 0) throw new Error(`${what}: ended with ${result.signal ?? `exit code ${result.code}`}`)
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
    const from = require('node:module').createRequire(process.cwd() + '/')
    const at = /^(file|data|node):/.test(module) ? module : require('node:url').pathToFileURL(from.resolve(module)).href
    import(at).then((it) => it[name](...args)).catch((error) => { console.error(error); process.exit(1) })`
  return [process.execPath, '--eval', script, '--', JSON.stringify([module, name, args])]
}

/**
 * What programs need to be found, and to find what is their user's; nothing that was meant for the owner alone, as
 * NODE_OPTIONS.
 */
const PASSED = [
  'PATH',
  'HOME',
  'USER',
  'LOGNAME',
  'SHELL',
  'LANG',
  'LC_ALL',
  'TZ',
  'TMPDIR',
  'TMP',
  'TEMP',
  'XDG_RUNTIME_DIR',
  'XDG_STATE_HOME',
  'EXODOS_STATE_DIR',
  'ELECTRON_RUN_AS_NODE',
  'SystemRoot',
  'Path',
]

export function environment(): Record<string, string> {
  return Object.fromEntries(
    PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name] as string]])),
  )
}
