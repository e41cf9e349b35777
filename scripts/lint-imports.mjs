// Imports go one way: a room may import from the rooms below it and from its own, and from nothing else.
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

/** Rooms of each package, lowest first; `faces` are the files at the top. */
const PACKAGES = {
  exodos: {
    core: [],
    watchdog: [],
    system: [],
    process: ['core', 'watchdog', 'system'],
    'guardian/records': ['core', 'system', 'process'],
    'guardian/actions': ['core', 'system', 'process', 'guardian/records'],
    'guardian/recovery': ['core', 'system', 'process', 'guardian/records', 'guardian/actions'],
    guardian: ['core', 'system', 'process', 'guardian/records', 'guardian/actions', 'guardian/recovery'],
    tree: ['core', 'system', 'process', 'guardian', 'guardian/records', 'guardian/actions'],
    faces: [
      'core',
      'system',
      'process',
      'guardian',
      'guardian/records',
      'guardian/actions',
      'guardian/recovery',
      'tree',
      'faces',
    ],
    supervisor: ['core', 'watchdog', 'system', 'process'],
    cli: ['core', 'system', 'guardian', 'guardian/records', 'guardian/recovery', 'process', 'supervisor'],
  },
  web: {
    input: [],
    probes: ['input'],
    drain: ['input', 'probes'],
    faces: ['input', 'probes', 'drain', 'faces'],
  },
  pool: {
    shared: [],
    worker: ['shared'],
    carriers: ['shared'],
    engine: ['shared'],
    local: ['shared', 'worker', 'carriers', 'engine'],
    pool: ['shared', 'worker', 'carriers', 'engine', 'local'],
    faces: ['shared', 'worker', 'engine', 'pool', 'faces'],
  },
}
const problems = []
for (const [name, below] of Object.entries(PACKAGES)) check(name, below)
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exit(1)
console.log('imports: one way')

function check(pack, below) {
  const src = resolve(`packages/${pack}/src`)
  const room = (file) => {
    const folder = dirname(relative(src, file))
    return folder === '.' ? 'faces' : folder
  }
  for (const name of readdirSync(src, { recursive: true })) {
    if (!name.endsWith('.ts')) continue
    const file = join(src, name)
    const label = `packages/${pack}/src/${name}:`
    const here = room(file)
    if (!(here in below)) problems.push(`${label} ${here} is not on the list of rooms in scripts/lint-imports.mjs`)
    const text = readFileSync(file, 'utf8')
    for (const [, isType, target] of text.matchAll(
      /^(?:import|export)\s+(type\s)?[^'"]*?from\s+'([^']+)'|import\('([^']+)'\)/gm,
    )) {
      if (!target) continue
      if (target.startsWith('.')) {
        const there = room(resolve(dirname(file), target.replace(/\.js$/, '.ts')))
        if (there !== here && !below[here]?.includes(there))
          problems.push(`${label} ${here} must not import ${there} (${target})`)
      } else if (here === 'core' && !isType) {
        problems.push(`${label} core is pure and imports nothing but types from outside (${target})`)
      } else if (!target.startsWith('node:') && !(pack !== 'exodos' && /^exodos(\/|$)/.test(target))) {
        problems.push(`${label} nothing is imported but Node's own and exodos (${target})`)
      }
    }
  }
}
