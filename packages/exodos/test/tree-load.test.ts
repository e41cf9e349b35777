import { afterAll, describe, expect, test } from 'vitest'
import { node } from './support/program.js'
import { isBelow, type Member, planTree, startTree, type Tree } from './support/tree-load.js'

const ROUNDS = Number(process.env.EXODOS_TREE_ROUNDS ?? 1)
/** Processes: the root, seven in the middle level, and leaves below these. */
const SIZE = Number(process.env.EXODOS_TREE_SIZE ?? 13)
const MIDDLES = SIZE < 50 ? 3 : 7
const LEAVES = Math.round((SIZE - 1) / MIDDLES) - 1
/** Milliseconds: the grace period of the root. */
const DEADLINE = 10_000

interface Way {
  readonly name: string
  act(tree: Tree): void
  /** Killed: its hook isn't called. */
  readonly killed?: string
  /** Only what is below it ends. */
  readonly below?: string
  readonly command?: (file: string) => string[]
}

/** In a terminal of its own, which `script` makes; what is written to its stdin is typed. */
const inTerminal = (file: string) => ['script', '-qec', `exec ${node} --import exodos/register ${file}`, '/dev/null']

const kill = (name: string, signal: NodeJS.Signals) => (tree: Tree) => void process.kill(tree.pid(name), signal)

const ways: Way[] = [
  { name: 'SIGTERM', act: kill('0', 'SIGTERM') },
  { name: 'Ctrl-C in a terminal', act: ({ program }) => void program.child.stdin?.write('\x03'), command: inTerminal },
  { name: 'SIGKILL of the root', act: kill('0', 'SIGKILL'), killed: '0' },
  { name: 'SIGKILL in the middle', act: kill('0.1', 'SIGKILL'), killed: '0.1', below: '0.1' },
]

const plans: [string, Member[]][] = [
  ['all of Node', planTree(MIDDLES, LEAVES, false)],
  ['a third of it plain', planTree(MIDDLES, LEAVES, true)],
]

/** What went wrong in a round; how much longer it took than the hooks that have to wait for one another. */
interface Round {
  readonly left: readonly string[]
  readonly missed: readonly string[]
  readonly twice: readonly string[]
  readonly disorder: readonly string[]
  readonly late: number
}

async function playRound(plan: readonly Member[], { act, killed, below, command }: Way): Promise<Round> {
  const tree = await startTree(plan, command)
  act(tree)
  const ms = await tree.quiet(DEADLINE, below)
  const early = below === undefined ? [] : tree.log().filter(({ name }) => !isBelow(name, below))
  const left = tree.alive(below)
  if (below !== undefined) {
    kill('0', 'SIGTERM')(tree)
    await tree.quiet(DEADLINE)
    left.push(...tree.alive())
  }
  const log = tree.log()
  const find = (name: string, what: string) => log.findIndex((line) => line.name === name && line.what === what)
  const called = plan.filter((each) => each.ms !== undefined && each.name !== killed).map(({ name }) => name)
  const disorder = called.flatMap((name) => {
    const begin = find(name, 'begins')
    const later = called.filter((other) => begin >= 0 && isBelow(other, name) && find(other, 'ends') > begin)
    return later.map((other) => `${other} after ${name}`)
  })
  return {
    left,
    missed: called.filter((name) => find(name, 'ends') < 0),
    twice: called.filter((name) => log.filter((line) => line.name === name && line.what === 'begins').length > 1),
    disorder: [...disorder, ...early.map(({ name }) => `${name} too early`)],
    late: ms - (below === undefined ? longestLine(plan, '0', killed) : longestLine(plan, below, below)),
  }
}

/** Milliseconds of hooks one after the other: a parent's when all of its children have ended. */
function longestLine(plan: readonly Member[], top: string, killed: string | undefined): number {
  const own = top === killed ? 0 : (plan.find(({ name }) => name === top)?.ms ?? 0)
  return own + Math.max(0, ...plan.filter(({ parent }) => parent === top).map(({ name }) => longestLine(plan, name, killed)))
}

const figures: Record<string, object> = {}

afterAll(() => {
  if (process.env.EXODOS_TREE_ROUNDS) console.table(figures)
})

describe.each(ways)('$name: nobody is left, each hook is called once, those of children before', (way) => {
  const limit = 60_000 + ROUNDS * 60_000
  test.each(plans)(`${SIZE} processes, %s, ${ROUNDS} rounds`, { timeout: limit }, async (words, plan) => {
    const rounds: Round[] = []
    for (let n = 0; n < ROUNDS; n++) rounds.push(await playRound(plan, way))
    const all = (what: 'left' | 'missed' | 'twice' | 'disorder') => rounds.flatMap((round) => round[what])
    const late = rounds.map((round) => Math.round(round.late)).sort((a, b) => a - b)
    const [left, missed, twice, disorder] = [all('left'), all('missed'), all('twice'), all('disorder')]
    figures[`${way.name}, ${words}`] = {
      left: left.length,
      missed: missed.length,
      twice: twice.length,
      disorder: disorder.length,
      'late, median': late[late.length >> 1],
      'late, max': late.at(-1),
    }
    expect({ left, missed, twice, disorder }).toEqual({ left: [], missed: [], twice: [], disorder: [] })
  })
})
