#!/usr/bin/env node
import { doctor } from './doctor.js'
import { run } from './run.js'
import { type Command, readOptions, UsageError } from './usage.js'
import { didYouMean } from './words.js'

const COMMANDS: Readonly<Record<string, Command>> = { run, doctor }
const HELP = `Usage: exodos COMMAND [options]

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(8)}${summary}`)
  .join('\n')}

exodos COMMAND --help says more.`

main(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof UsageError)) throw error
  console.error(`exodos: ${error.message}`)
  process.exit(125)
})

async function main([name, ...args]: string[]): Promise<void> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(HELP)
    if (name === undefined) process.exitCode = 125
    return
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) throw new UsageError(`unknown command ${name}${didYouMean(name, Object.keys(COMMANDS))}\n\n${HELP}`)
  const given = readOptions(args, { ...command.options, help: 'flag', h: 'flag' })
  if ('help' in given.values || 'h' in given.values) console.log(command.help)
  else await command.run(given)
}
