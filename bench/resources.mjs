/** Scopes against TC39's own stack and against hand-written code, finalizers against a bare registry, and a wide parallel scope. */
import { execFileSync } from 'node:child_process'
import { installNodes } from '../scripts/nodes.mjs'
import { ask, compare, interleave } from './measure.mjs'

export async function benchmark({ node, rounds = 5 }) {
  // Where this Node has no AsyncDisposableStack, another one does.
  const has = execFileSync(node, ['-p', 'typeof AsyncDisposableStack'], { encoding: 'utf8' }).trim() === 'function'
  const native = has ? node : installNodes(['24'])[0][1]
  const subjects = {
    ours: () => ask(native, 'scope', 'exodos'),
    native: () => ask(native, 'scope', 'native'),
    finally: () => ask(native, 'scope', 'try/finally'),
    finalizer: () => ask(node, '--expose-gc', 'finalize', 'exodos'),
    light: () => ask(node, '--expose-gc', 'finalize', 'exodos, not at exit'),
    bare: () => ask(node, '--expose-gc', 'finalize', 'bare'),
    parallel: () => ask(node, 'parallel'),
  }
  const samples = await interleave(rounds, subjects)
  const wide = samples.parallel
  return [
    compare('scope, 3 members, closed (Node ≥ 24)', samples.ours, 'AsyncDisposableStack', samples.native, 'ns', 1.5),
    compare('scope, 3 members, closed (Node ≥ 24)', samples.ours, 'try/finally', samples.finally, 'ns'),
    compare('finalizer, made and collected', samples.finalizer, 'FinalizationRegistry', samples.bare, 'ns', 2),
    compare('finalizer with atExit: false', samples.light, 'FinalizationRegistry', samples.bare, 'ns', 2),
    compare(
      'parallel scope, 1,000 members of 5 ms',
      wide.map((sample) => sample.ours),
      'Promise.all',
      wide.map((sample) => sample.critical),
      'ms',
      1.3,
    ),
  ]
}
