/** What it costs to start a program under `exodos run`, beside others that start programs. */
import { spawnSync } from 'node:child_process'
import { compare, copied, interleave, minus, wallTime } from './measure.mjs'

const bin = copied('node_modules/exodos/bin/exodos.js')

export async function benchmark({ node, rounds = 20 }) {
  const peers = { 'npm run': ['npm', 'run', '--silent'] }
  for (const name of ['tini', 'dumb-init']) if (exists(name)) peers[name] = [name, ...(name === 'tini' ? ['-s'] : []), '--']
  const subjects = { bare: () => wallTime('true', []), 'exodos run': () => wallTime(node, [bin, 'run', '--', 'true']) }
  for (const [name, command] of Object.entries(peers)) {
    // For npm, `true` is a script of the package there.
    subjects[name] = () => wallTime(command[0], [...command.slice(1), 'true'], { cwd: copied('npm-run') })
  }
  subjects['node bare'] = () => wallTime(node, ['empty'])
  subjects['node under exodos run'] = () => wallTime(node, [bin, 'run', '--', node, copied('empty.mjs')])
  const samples = await interleave(rounds, subjects)
  const added = minus(samples['exodos run'], samples.bare)
  const rows = Object.keys(peers).map((name) =>
    compare('start-up added by exodos run', added, name, minus(samples[name], samples.bare), 'ms'),
  )
  rows.push(compare('  the same, a Node program', samples['node under exodos run'], 'bare', samples['node bare'], 'ms'))
  return Object.assign(rows, { notes: exists('tini') ? [] : ['tini and dumb-init (Debian packages) are not installed'] })
}

function exists(name) {
  return spawnSync(name, ['--version']).error === undefined
}
