/** What a program that only waits holds in memory after the import and one hook. */
import { ask, compare, interleave, minus } from './measure.mjs'

const NAMES = ['exodos', 'exodos-lib', 'signal-exit', 'exit-hook']

export async function benchmark({ node, rounds = 20 }) {
  const subjects = Object.fromEntries(['empty', ...NAMES].map((name) => [name, () => ask(node, 'rss', name)]))
  const { empty, ...samples } = await interleave(rounds, subjects)
  for (const name of NAMES) samples[name] = minus(samples[name], empty)
  return [
    compare('idle memory added', samples.exodos, 'signal-exit', samples['signal-exit'], 'MiB'),
    compare('idle memory added', samples.exodos, 'exit-hook', samples['exit-hook'], 'MiB'),
    compare('  the same, exodos/lib', samples['exodos-lib'], 'signal-exit', samples['signal-exit'], 'MiB'),
    compare('idle memory added, of an empty program', samples.exodos, 'empty', empty, 'MiB'),
  ]
}
