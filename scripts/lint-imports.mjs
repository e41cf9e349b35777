// Imports go one way: a room may import from the rooms below it and from its own, and from nothing else.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

/** Rooms of the core package, lowest first; `faces` are the files at the top. */
const BELOW = {
  core: [],
  watchdog: [],
  process: ['core', 'watchdog'],
  faces: ['core', 'process', 'faces'],
  supervisor: ['core', 'watchdog', 'process'],
  cli: ['core', 'process', 'supervisor'],
}

const src = resolve('packages/exodos/src')
const room = (file) => {
  const [first, ...rest] = relative(src, file).split('/')
  return rest.length === 0 ? 'faces' : first
}
const problems = []

for (const name of readdirSync(src, { recursive: true })) {
  if (!name.endsWith('.ts')) continue
  const file = join(src, name)
  const here = room(file)
  if (!(here in BELOW)) problems.push(`${name}: ${here} is not on the list of rooms in scripts/lint-imports.mjs`)
  const text = readFileSync(file, 'utf8')
  for (const [, isType, target] of text.matchAll(/^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|import\('([^']+)'\)/gm)) {
    if (!target) continue
    if (target.startsWith('.')) {
      const there = room(resolve(dirname(file), target.replace(/\.js$/, '.ts')))
      if (there !== here && !BELOW[here]?.includes(there)) problems.push(`${name}: ${here} must not import ${there} (${target})`)
    } else if (here === 'core' && !isType) {
      problems.push(`${name}: core is pure and imports nothing but types from outside (${target})`)
    } else if (!target.startsWith('node:')) {
      problems.push(`${name}: the core package has no dependencies (${target})`)
    }
  }
}
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log('imports: one way')
