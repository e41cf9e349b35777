import { writeError } from './output.js'
import { builtin, realProcess } from './real.js'

/** Prints an error as Node would have, had it ended the process: the stack with properties and causes, then the version. */
export function printUncaught(error: unknown): void {
  writeError(`${errorText(error)}\n\nNode.js ${realProcess.version}\n`)
}

function errorText(error: unknown): string {
  const { inspect, types } = builtin<typeof import('node:util')>('node:util')
  try {
    if (types.isNativeError(error) || error instanceof Error) {
      if (error.name === 'SyntaxError') addExcerpt(error)
      const text = inspect(error, { customInspect: false, colors: realProcess.stderr.isTTY && realProcess.stderr.hasColors() })
      return text.startsWith('file:') || text.startsWith('/') ? text : `\n${text}`
    }
    if (typeof error === 'object' && error !== null) return `Uncaught:\n${inspect(error)}`
    return `Uncaught:\n${String(error)}\n(Use \`node --trace-uncaught ...\` to show where the exception was thrown)`
  } catch {
    return 'Uncaught: an error that can not be shown'
  }
}

const SLOT = Symbol.for('exodos.syntax-error')

/** Node keeps the line that could not be parsed beside the error, and adds it to the stack when a script throws it on. */
function addExcerpt(error: Error): void {
  const slot = globalThis as { [SLOT]?: unknown }
  slot[SLOT] = error
  try {
    const { runInThisContext } = builtin<typeof import('node:vm')>('node:vm')
    runInThisContext(`throw globalThis[Symbol.for('exodos.syntax-error')]`, { displayErrors: true, filename: 'exodos' })
  } catch {
  } finally {
    delete slot[SLOT]
  }
}
