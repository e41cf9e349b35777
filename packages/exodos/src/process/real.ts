/**
 * A module of Node's. Not imported but asked for: an `import` builds a second view of the module, which costs more than
 * all of ours (and for `node:process` opens stdin), and some are needed only when the program leaves.
 */
export function builtin<T>(name: string): T {
  return globalThis.process.getBuiltinModule(name) as T
}

/** Made by Node itself, so a function of Node's own realm, also where a test framework has put us into another one. */
export const { EventEmitter } = builtin<typeof import('node:events')>('node:events')

const isSandboxed = !(EventEmitter instanceof Function)

/** The process object of this thread. Test frameworks give each test file a copy of its own: this is the real one. */
export const realProcess: NodeJS.Process = isSandboxed
  ? builtin<typeof import('node:vm')>('node:vm').runInThisContext('process')
  : globalThis.process

/** Adds a listener of ours unless it is there: the application may have removed it, with all others. */
export function listenOnce(event: string, listener: (...args: never[]) => void, add: 'on' | 'prependListener' = 'on'): void {
  const isThere = realProcess.listenerCount(event) > 0 && realProcess.listeners(event as 'exit').includes(listener as () => void)
  if (!isThere) realProcess[add](event as 'SIGTERM', listener as () => void)
}

/** Has Node begun to emit 'exit'? */
export function isExiting(): boolean {
  return (realProcess as unknown as { _exiting?: boolean })._exiting === true
}

/**
 * The environment as the program is going to see it: a worker of PM2's cluster mode gets its own as JSON in one variable,
 * which is unpacked only after what `--import` names.
 */
export function environment(): NodeJS.ProcessEnv {
  const { env } = realProcess
  if (env.pm2_env === undefined) return env
  try {
    return { ...env, ...JSON.parse(env.pm2_env) }
  } catch {
    return env
  }
}

/** What somebody who is debugging wants to see: `order`, and a summary of every exit for any other word. */
export function debugTopics(): string[] {
  const { EXODOS_DEBUG = '' } = realProcess.env
  return EXODOS_DEBUG.split(',').filter((topic) => topic !== '' && topic !== '0')
}

/** Differs from test file to test file where a framework isolates them within one process, as Jest does. */
export const realm: unknown = isSandboxed ? globalThis.process : undefined
