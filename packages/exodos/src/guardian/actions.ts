import { end } from './end.js'
import { erase } from './erase.js'
import { removeLock } from './lock-file.js'
import { type Action, type CallAction, DONE, type Outcome } from './record.js'
import type { Command, CommandResult, Steps } from './steps.js'

/** Does one action. Throws what may be gone at the next try. */
export function* act(action: Action): Steps<Outcome> {
  switch (action.kind) {
    case 'path':
      return yield* erase(action.path, action)
    case 'process':
      return yield* end(action)
    case 'command':
      return yield* run(action.argv.join(' '), {
        argv: action.argv,
        cwd: action.cwd,
        timeout: action.timeout,
        env: environment(),
      })
    case 'call':
      return yield* run(`${action.export} of ${action.module}`, callOf(action))
    case 'lock':
      return yield* removeLock(action)
    default:
      // Written down by a version that can do more.
      return { left: `a newer exodos is needed for ${(action as { kind: string }).kind}` }
  }
}

function* run(what: string, command: Command): Steps<Outcome> {
  const result = (yield { run: command }) as CommandResult
  if (result.error) throw result.error
  if (result.timedOut) throw new Error(`${what}: not done after ${command.timeout} ms`)
  if (result.code !== 0) throw new Error(`${what}: ended with ${result.signal ?? `exit code ${result.code}`}`)
  return DONE
}

/** In a process of its own: it may hang, throw, or end everything. */
function callOf({ module, export: name, args, cwd, timeout }: CallAction): Command {
  const script = `
    const [module, name, args] = JSON.parse(process.argv[1])
    const from = require('node:module').createRequire(process.cwd() + '/')
    const at = /^(file|data|node):/.test(module) ? module : require('node:url').pathToFileURL(from.resolve(module)).href
    import(at).then((it) => it[name](...args)).catch((error) => { console.error(error); process.exit(1) })`
  const argv = [process.execPath, '--eval', script, '--', JSON.stringify([module, name, args])]
  return { argv, cwd, timeout, env: environment() }
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
  'XDG_RUNTIME_DIR',
  'SystemRoot',
  'Path',
]

export function environment(): Record<string, string> {
  return Object.fromEntries(
    PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name] as string]])),
  )
}
