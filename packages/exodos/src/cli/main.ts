#!/usr/bin/env node
import { readFileSync } from 'node:fs'
import { doctor } from './doctor.js'
import { ps } from './ps.js'
import { recover } from './recover.js'
import { run } from './run.js'
import { type Command, readOptions, UsageError } from './usage.js'
import { didYouMean } from './words.js'

const COMMANDS: Readonly<Record<string, Command>> = { run, ps, doctor, recover }
const HELP = `Usage: exodos COMMAND [options]

${Object.entries(COMMANDS)
  .map(([name, { summary }]) => `  ${name.padEnd(8)}${summary}`)
  .join('\n')}

exodos COMMAND --help says more, exodos --version which this is.`

main(process.argv.slice(2)).catch((error) => {
  if (!(error instanceof UsageError)) throw error
  console.error(`exodos: ${error.message}\n\nexodos --help, exodos COMMAND --help say more.`)
  process.exit(125)
})

async function main([name, ...args]: string[]): Promise<void> {
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    console.log(HELP)
    if (name === undefined) process.exitCode = 125
    return
  }
  if (name === '--version' || name === '-v') {
    console.log(JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')).version)
    return
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (!command) throw new UsageError(`unknown command ${name}${didYouMean(name, Object.keys(COMMANDS))}`)
  const given = readOptions(args, { ...command.options, help: 'flag', h: 'flag' })
  if ('help' in given.values || 'h' in given.values) console.log(command.help)
  else await command.run(given)
}
