/** Registering and cancelling one hook while many others are live. */
import { ask, compare, interleave, median, spread } from './measure.mjs'

const SIZES = [10, 1_000, 100_000]
const OURS = ['exodos, named', 'exodos, anonymous']
const PEERS = ['signal-exit', 'exit-hook']

export async function benchmark({ node, rounds = 5 }) {
  const subjects = {}
  for (const size of SIZES) {
    for (const name of [...OURS, ...PEERS]) subjects[`${name} ${size}`] = () => ask(node, 'register', name, size)
  }
  const samples = await interleave(rounds, subjects)
  const rows = []
  for (const size of SIZES) {
    for (const name of OURS) {
      for (const peer of PEERS) {
        const most = size === 1000 ? 1 : undefined
        const what = `register + cancel, ${size.toLocaleString('en')} live (${name})`
        rows.push(compare(what, samples[`${name} ${size}`], peer, samples[`${peer} ${size}`], 'ns', most))
      }
    }
  }
  for (const name of [...OURS, ...PEERS]) {
    const bySize = SIZES.map((size) => samples[`${name} ${size}`])
    const ratio = median(bySize.at(-1)) / median(bySize[0])
    // A processor's cache too small for all hooks costs everybody something; a list that is searched, hundreds of times more.
    const judged = OURS.includes(name)
    rows.push({
      what: `register + cancel, 100,000 live against 10 (${name})`,
      ours: spread(bySize.at(-1), 'ns'),
      peer: `10 live ${spread(bySize[0], 'ns')}`,
      ratio: ratio.toFixed(2),
      aim: judged ? '≤ 1.5' : '',
      met: judged ? (ratio <= 1.5 ? 'yes' : 'no') : '',
    })
  }
  return rows
}
