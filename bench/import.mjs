/** What it costs to import the package and to register the first hook, in CPU time. */
import { ask, compare, cpuTime, interleave, minus } from './measure.mjs'

const PEERS = { 'signal-exit': 1.2, 'exit-hook': 1 }
const NAMES = ['exodos', 'exodos-lib', ...Object.keys(PEERS)]

export async function benchmark({ node, rounds = 40 }) {
  const measure = (sample) =>
    interleave(rounds, Object.fromEntries(['empty', ...NAMES].map((name) => [name, () => sample(name)])))
  const processes = await measure((name) => cpuTime(node, name))
  const inside = await measure((name) => ask(node, 'cpu', name))
  const rows = []
  for (const [scope, { empty, ...samples }] of Object.entries({ 'whole process': processes, 'in process': inside })) {
    // An empty program stands for Node itself, and for the first `import()`.
    for (const name of NAMES) samples[name] = minus(samples[name], empty)
    for (const [peer, most] of Object.entries(PEERS)) {
      rows.push(compare(`import + first hook, ${scope}`, samples.exodos, peer, samples[peer], 'ms', most))
    }
    rows.push(compare(`  the same, exodos/lib`, samples['exodos-lib'], 'signal-exit', samples['signal-exit'], 'ms'))
  }
  return rows
}
