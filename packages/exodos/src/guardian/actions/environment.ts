import { existsSync } from 'node:fs'
import { TREE } from '../../process/family.js'
import { builtin } from '../../process/real.js'

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
  const passed = PASSED.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name] as string]]))
  // It belongs to no tree: it is to outlive who starts it, or is ended by somebody else.
  return { ...Object.fromEntries(passed), [TREE]: '' }
}

/** The Node that runs us. Throws where that is a program of its own, which would be started again. */
export function nodeProgram(): { command: string; env: Record<string, string> } {
  const { electron, bun, deno } = process.versions
  const isOne = builtin<{ isSea(): boolean } | undefined>('node:sea')?.isSea() === true || 'pkg' in process
  if (isOne || deno) throw new Error(`${process.execPath} is not Node`)
  const env = environment()
  if (electron) env.ELECTRON_RUN_AS_NODE = '1'
  if (bun) env.BUN_BE_BUN = '1'
  // It may have been found by these.
  for (const name of ['LD_LIBRARY_PATH', 'DYLD_LIBRARY_PATH']) if (process.env[name]) env[name] = process.env[name]
  if (!existsSync(process.execPath)) throw new Error(`${process.execPath} is gone`)
  return { command: process.execPath, env }
}
