/** A run of 100,000 synchronous hooks against a bare loop; each once in a fresh process, as at an exit. */
import { ask, compare, interleave } from './measure.mjs'

export async function benchmark({ node, rounds = 15 }) {
  const samples = await interleave(rounds, {
    sync: () => ask(node, 'run-hooks', 'sync'),
    bare: () => ask(node, 'run-hooks', 'bare'),
    plain: () => ask(node, 'run-hooks', 'plain'),
  })
  const { bare } = samples
  return [
    compare('100,000 hooks, { sync: true }', samples.sync, 'bare loop', bare, 'ms', 2),
    compare('100,000 hooks, plain', samples.plain, 'bare loop', bare, 'ms', 2),
  ]
}
