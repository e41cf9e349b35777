/**
 * Adopts a program without a change to it: `node --import exodos/register app.js`, also with `--require` and in
 * `NODE_OPTIONS`. The process becomes the host: all hooks, those of libraries too, get the full run.
 *
 * @packageDocumentation
 */
import { configure } from './index.js'

// No option is set, so the application's own `configure` finds everything open.
configure({})
drainServers()
adoptChildren()

/** What that takes is loaded with the first child process; Node tells of it before it is started. */
function adoptChildren(): void {
  const { createRequire } = process.getBuiltinModule('node:module')
  const load = createRequire(import.meta.url)
  const { subscribe, unsubscribe } = process.getBuiltinModule('node:diagnostics_channel')
  subscribe('child_process', function begin(message) {
    try {
      load('./tree.js').adoptChildren((message as { process: object }).process)
      unsubscribe('child_process', begin)
    } catch (error) {
      process.emitWarning(error as Error)
    }
  })
}

/** The program's own `@exodos/web`, where it has one, drains the servers that it finds. */
function drainServers(): void {
  const { createRequire } = process.getBuiltinModule('node:module')
  const { resolve } = process.getBuiltinModule('node:path')
  // A program without a file, `node -e`, is where it was started.
  const load = createRequire(resolve(process.argv[1] ?? 'program'))
  let path: string
  try {
    path = load.resolve('@exodos/web/register')
  } catch {
    return
  }
  try {
    load(path)
  } catch {
    // A Node that can't require ES modules; what else is wrong with it must not keep the program from starting.
    import(process.getBuiltinModule('node:url').pathToFileURL(path).href).catch((error: Error) => process.emitWarning(error))
  }
}
