// Figures are ratios against peers measured in the same run, interleaved.
// Usage: npm run bench -- [--node PATH] [--rounds N] [name...]
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'

const ALL = [
  'import',
  'register',
  'run-hooks',
  'size',
  'rss',
  'watchdog',
  'supervisor',
  'resources',
  'durable',
  'tree',
  'web-drain',
  'web-cost',
  'pool',
]

const { values, positionals } = parseArgs({
  options: { node: { type: 'string', default: process.execPath }, rounds: { type: 'string' } },
  allowPositionals: true,
})
const names = positionals.length > 0 ? positionals : ALL
const unknown = names.find((name) => !ALL.includes(name))
if (unknown) fail(`no benchmark ${unknown}: expected ${ALL.join(', ')}`)
if (!existsSync(new URL('../packages/exodos/dist/index.js', import.meta.url)))
  fail('packages/exodos/dist is missing: npm run build')

const options = { node: values.node, ...(values.rounds && { rounds: Number(values.rounds) }) }
const rows = []
for (const name of names) {
  process.stderr.write(`${name} …\n`)
  const { benchmark } = await import(`./${name}.mjs`)
  const result = await benchmark(options)
  rows.push(...result)
  for (const note of result.notes ?? []) console.log(note)
}
console.log(
  `\nNode ${execFileSync(values.node, ['--version'], { encoding: 'utf8' }).trim()}; medians, in brackets lowest–highest\n`,
)
printTable(rows)

function printTable(rows) {
  const columns = ['what', 'ours', 'peer', 'ratio', 'aim', 'met']
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => row[column].length)))
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`
  console.log(line(columns))
  console.log(line(widths.map((width) => '-'.repeat(width))))
  for (const row of rows) console.log(line(columns.map((column) => row[column])))
}

function fail(message) {
  console.error(message)
  process.exit(1)
}
