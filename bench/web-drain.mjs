/**
 * Which users lose a request when a server is told to leave, stack by stack.
 *
 * Alone: node bench/web-drain.mjs [--connections 50|500|5000] [--stacks exodos,close,…] [--seed N] [--rounds N]
 *        [--node PATH] [--json FILE]: the results as data, each lost request with its times relative to SIGTERM.
 */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { drive, STACKS } from './web/driver.mjs'

/** Bare `close()` loses so many at 500 connections, or the run couldn't have shown anything. */
const CONTROL = 20

const ATTEMPTS = 4

/** A user that is late by more, in ms, isn't the user it is meant to be: those who connect in advance wait for 500 of the 1000 they have. */
const DRIVER_LATE = 400

export async function benchmark({ node, rounds = 1, connections = 500, seed = 1, stacks = STACKS, answersBefore }) {
  const results = []
  for (let round = 0; round < rounds; round++) {
    for (const stack of stacks) {
      process.stderr.write(`  ${stack}, ${connections} connections, seed ${seed + round}\n`)
      results.push(
        await soundRun({
          stack,
          connections,
          seed: seed + round,
          ...(node && { node }),
          ...(answersBefore && { answersBefore }),
        }),
      )
    }
  }
  const of = (stack) => results.filter((result) => result.stack === stack)
  const faults = results.flatMap((result) => invalid(result))
  const hurt = (stack) => of(stack).map((result) => result.usersWithLoss)
  if (connections >= 500 && Math.min(...hurt('close')) < CONTROL)
    faults.push(`bare close() hurt only ${hurt('close').join(', ')} users: expected ${CONTROL} at least`)
  const ours = of('exodos')
  const rows = stacks
    .filter((stack) => stack !== 'exodos' && ours.length > 0)
    .map((stack) => ({
      what: `users who lost a request at SIGTERM, of ${connections}`,
      ours: hurt('exodos').join(', '),
      peer: `${stack}: ${hurt(stack).join(', ')}`,
      ratio: '',
      aim: '0',
      met: faults.length > 0 ? 'void' : ours.every(lostNothing) ? 'yes' : 'NO',
    }))
  const notes = [table(stacks.map((stack) => tell(of(stack)))), ...faults.map((fault) => `void: ${fault}`)]
  return Object.assign(rows, { notes, results, faults })
}

/** Whoever shares the machine may hold up the driver: then again, a few times. */
async function soundRun(load) {
  for (let attempt = 1; ; attempt++) {
    const result = await drive(load)
    const faults = invalid(result)
    if (faults.length === 0 || attempt === ATTEMPTS) return { ...result, discarded: attempt - 1 }
    process.stderr.write(`  again: ${faults.join(', ')}\n`)
  }
}

const lostNothing = (result) =>
  result.lost === 0 && result.exit === 'SIGTERM' && Object.values(result.closed).every(({ all, well }) => all === well)

/** What makes a result worthless: the driver's own mistakes, or too little load. */
function invalid({ stack, early, stuck, requests, connections, driverDelay, losses }) {
  const faults = []
  if (early.length > 0) faults.push(`${early.length} connections failed before SIGTERM (${early[0]})`)
  if (stuck > 0) faults.push(`${stuck} users were never told anything`)
  if (connections >= 500 && requests < 10_000) faults.push(`only ${requests} requests`)
  if (driverDelay.max > DRIVER_LATE) faults.push(`the driver didn't keep up: its loop was late by ${driverDelay.max} ms`)
  const before = losses.filter((loss) => loss.lostAt < 0)
  if (before.length > 0) faults.push(`${before.length} requests lost before SIGTERM (${before[0].how})`)
  return faults.map((fault) => `${stack}: ${fault}`)
}

/** The rounds of one stack in a line. */
function tell(results) {
  const each = (value) => [...new Set(results.map(value))].join(', ')
  const sum = (value) => results.reduce((total, result) => total + value(result), 0)
  const closed = (kind) => `${sum((result) => result.closed[kind].well)}/${sum((result) => result.closed[kind].all)}`
  return {
    stack: results[0].stack,
    users: each((result) => result.users),
    requests: sum((result) => result.requests).toLocaleString('en'),
    'users with a loss': results.map((result) => result.usersWithLoss).join(', '),
    truncated: sum((result) => result.truncated),
    'WS 1001': closed('ws'),
    'SSE ended': closed('sse'),
    'upgrades FIN': closed('upgrade'),
    'refused after': sum((result) => result.refused + result.unestablished + result.handshakesCut),
    'exit after': results.map((result) => `${(result.exitMs / 1000).toFixed(1)} s`).join(', '),
    exit: each((result) => result.exit),
    'runs discarded': sum((result) => result.discarded),
    'driver p99, max': results.map(({ driverDelay: { p99, max } }) => `${p99}, ${max} ms`).join('; '),
  }
}

function table(rows) {
  const columns = Object.keys(rows[0])
  const widths = columns.map((column) => Math.max(column.length, ...rows.map((row) => String(row[column]).length)))
  const line = (cells) => `| ${cells.map((cell, i) => String(cell).padEnd(widths[i])).join(' | ')} |`
  return [line(columns), line(widths.map((width) => '-'.repeat(width))), ...rows.map((row) => line(Object.values(row)))].join(
    '\n',
  )
}

/** Which kinds of users lost what, how. */
function losses({ stack, seed, losses: all }) {
  const counts = new Map()
  for (const { kind, how } of all) counts.set(`${kind}: ${how}`, (counts.get(`${kind}: ${how}`) ?? 0) + 1)
  const lines = [...counts].sort((a, b) => b[1] - a[1]).map(([what, count]) => `  ${count} × ${what}`)
  return lines.length > 0 ? [`${stack}, seed ${seed}, lost:`, ...lines].join('\n') : ''
}

if (import.meta.main ?? process.argv[1] === import.meta.filename) {
  const { values } = parseArgs({
    options: {
      connections: { type: 'string', default: '500' },
      stacks: { type: 'string', default: STACKS.join() },
      seed: { type: 'string', default: '1' },
      answers: { type: 'string' },
      rounds: { type: 'string', default: '1' },
      node: { type: 'string' },
      json: { type: 'string' },
    },
  })
  const { notes, results, faults } = await benchmark({
    node: values.node,
    rounds: Number(values.rounds),
    connections: Number(values.connections),
    seed: Number(values.seed),
    stacks: values.stacks.split(','),
    ...(values.answers && { answersBefore: Number(values.answers) }),
  })
  if (values.json) writeFileSync(values.json, JSON.stringify(results, null, 1))
  for (const text of [...results.map(losses), ...notes]) if (text) console.log(text)
  process.exit(faults.length > 0 ? 1 : 0)
}
