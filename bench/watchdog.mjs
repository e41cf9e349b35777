/** What the watchdog adds to a clean exit: the time until the process is gone. */
import { compare, interleave, wallTime } from './measure.mjs'

/** How long the hooks take, by name. A run of synchronous hooks starts no thread. */
const HOOKS = { 'hooks of 100 ms': 'async:100', 'hooks of 10 ms': 'async:10', 'synchronous hooks': 'sync' }

export async function benchmark({ node, rounds = 40 }) {
  const subjects = {}
  for (const hook of Object.values(HOOKS)) {
    for (const mode of ['auto', 'always', 'never']) subjects[`${hook} ${mode}`] = () => wallTime(node, ['leave', hook, mode])
  }
  const samples = await interleave(rounds, subjects)
  return Object.entries(HOOKS).flatMap(([name, hook]) =>
    ['auto', 'always'].map((mode) => {
      const most = mode === 'auto' ? 1.1 : undefined
      return compare(
        `clean exit, ${name}, watchdog ${mode}`,
        samples[`${hook} ${mode}`],
        'never',
        samples[`${hook} never`],
        'ms',
        most,
      )
    }),
  )
}
