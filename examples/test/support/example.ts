import { fileURLToPath } from 'node:url'
import { node, type Program, type ProgramOptions, start } from '../../../packages/exodos/test/support/program.js'

/** Starts a program of the examples, in a real process of the Node under test. */
export function startExample(file: string, options: ProgramOptions = {}): Program {
  const path = fileURLToPath(new URL(`../../${file}`, import.meta.url))
  return start('', { ...options, command: () => [node, path, ...(options.args ?? [])] })
}

/** Runs it to its end, which must be a good one, and gives the lines that it printed. */
export async function linesOf(file: string, ...args: string[]): Promise<string[]> {
  const { code, signal, stderr, lines } = await startExample(file, { args }).ended
  if (code !== 0 || stderr) throw new Error(`${file} ended with ${signal ?? code}\n${lines.join('\n')}\n${stderr}`)
  return lines
}
