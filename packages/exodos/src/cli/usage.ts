import { didYouMean } from './words.js'

/** Something is wrong with the command line. */
export class UsageError extends Error {}

/** One command of the program. */
export interface Command {
  /** One line. */
  readonly summary: string
  readonly help: string
  readonly options: Readonly<Record<string, 'value' | 'flag'>>
  /** Ends the process itself, or sets its exit code. */
  run(given: Given): Promise<void> | void
}

/** What was given to a command: its own options, then whatever comes after them. */
export interface Given {
  readonly values: Readonly<Record<string, string | undefined>>
  readonly rest: readonly string[]
}

/** Reads options up to `--` or the first word that isn't one: what follows belongs to somebody else. */
export function readOptions(args: readonly string[], options: Command['options']): Given {
  const values: Record<string, string> = {}
  let next = 0
  for (; next < args.length; next++) {
    const word = args[next] as string
    if (word === '--') return { values, rest: args.slice(next + 1) }
    if (!word.startsWith('-')) break
    const [, name = '', attached] = /^--?([^=]*)(?:=(.*))?$/.exec(word) ?? []
    const kind = Object.hasOwn(options, name) ? options[name] : undefined
    if (!kind) throw new UsageError(`unknown option ${word}${didYouMean(name, Object.keys(options), '--')}`)
    if (kind === 'flag' && attached !== undefined) throw new UsageError(`--${name} takes no value`)
    const value = kind === 'flag' ? '' : (attached ?? args[++next])
    if (value === undefined || value === '--') throw new UsageError(`--${name} needs a value`)
    values[name] = value
  }
  return { values, rest: args.slice(next) }
}
