import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { RunReport } from '../src/supervisor/supervise.js'
import { node, prelude, start } from './support/program.js'

const cli = new URL('../dist/cli/main.js', import.meta.url).pathname
const ROUNDS = Number(process.env.EXODOS_TEST_ROUNDS ?? 5)
const AT_A_TIME = 2
const CLIENTS = 30
/** Requests that are answered before the spin. */
const WARM_UP = 60
const GRACE = 3000
const SIZE = 10_000

/** Where the loop stands still: at once, in a microtask, in a timer. */
const PLACES = ['spin()', 'Promise.resolve().then(spin)', 'setTimeout(spin, 10)']

const server = (place: string) => `${prelude}
import { createServer } from 'node:http'
import { writeFileSync } from 'node:fs'
let begin
const spinning = new Promise((resolve) => { begin = resolve })
// Not begun in the queue of microtasks that the spin may stand in: what ends the spin empties it.
function spin() { setImmediate(begin); say('spins'); for (;;); }
const server = createServer(async (request, response) => {
  const id = request.url.slice(1)
  if (id === 'spin') return ${place}
  say('took ' + id)
  // Held, so that there are enough in flight on a busy machine as well.
  if (id > ${WARM_UP}) await spinning
  // 50 to 400 ms, in steps, as of one query after the other: most of it is still to come when the loop is freed.
  for (let step = 0; step < 5; step++) await sleep(10 + (id * 37) % 71)
  response.end(id.padEnd(${SIZE}))
})
onExit(
  ({ signal }) =>
    new Promise((resolve) => {
      // The request that spins is never answered.
      signal.addEventListener('abort', () => server.closeAllConnections())
      server.close(resolve)
      server.closeIdleConnections()
    }),
  { phase: 'drain', timeout: '1s' },
)
onExit(async () => { await sleep(10); say('released') })
server.listen(0, '127.0.0.1', () => {
  writeFileSync('port', String(server.address().port))
  say('ready')
})`

/** What came of a request: its whole body with status 200, or something else. */
function ask(port: number, path: string): Promise<string> {
  return new Promise((resolve) => {
    get({ host: '127.0.0.1', port, path: `/${path}`, agent: false }, (response) => {
      let body = ''
      response.on('data', (data) => {
        body += data
      })
      response.on('close', () => resolve(response.statusCode === 200 && body === path.padEnd(SIZE) ? 'whole' : 'cut'))
    }).on('error', ({ code }: NodeJS.ErrnoException) => resolve(code ?? 'error'))
  })
}

/** Clients that ask one thing after the other, each time over a new connection, until the server has gone. */
function load(port: number) {
  const answers = new Map<string, string>()
  let last = 0
  let warm = () => {}
  const warmedUp = new Promise<void>((resolve) => {
    warm = resolve
  })
  const clients = Array.from({ length: CLIENTS }, async () => {
    for (let answer = 'whole'; answer === 'whole'; ) {
      const id = String(++last)
      if (last === WARM_UP + CLIENTS) warm()
      answer = await ask(port, id)
      answers.set(id, answer)
    }
  })
  return { answers, warmedUp, ended: Promise.all(clients) }
}

async function round(place: string) {
  const program = start(server(place), {
    command: (file) => [node, cli, 'run', '--grace', `${GRACE}ms`, '--report', 'run.json', '--', node, file],
  })
  await program.until('ready')
  const port = Number(readFileSync(join(program.dir, 'port'), 'utf8'))
  const { answers, warmedUp, ended: clientsEnded } = load(port)
  await warmedUp
  const spin = ask(port, 'spin')
  await program.until('spins')
  const before = new Set(answers.keys())
  program.kill('SIGTERM')
  const began = performance.now()
  const ended = await program.ended
  const ms = Math.round(performance.now() - began)
  await clientsEnded
  const taken = ended.lines.filter((line) => line.startsWith('took')).map((line) => line.slice('took '.length))
  const spun = ended.lines.indexOf('spins')
  const inFlight = taken.filter((id) => ended.lines.indexOf(`took ${id}`) < spun && !before.has(id))
  const lost = taken.filter((id) => answers.get(id) !== 'whole')
  const { blocked, killed, leftBehind }: RunReport = JSON.parse(readFileSync(join(program.dir, 'run.json'), 'utf8'))
  return { ended, ms, taken, inFlight, lost, answers, spin: await spin, blocked, killed, leftBehind }
}

test('a server under load, stuck in one handler, is freed after SIGTERM and answers all other requests', {
  timeout: ROUNDS * 10_000,
}, async () => {
  const figures: object[] = []
  const rounds = Array.from({ length: ROUNDS }, (_, i) => PLACES[i % PLACES.length] as string)
  const lane = async () => {
    for (let place = rounds.shift(); place !== undefined; place = rounds.shift()) {
      const { ended, ms, taken, inFlight, lost, answers, spin, blocked, killed, leftBehind } = await round(place)
      figures.push({ place, taken: taken.length, inFlight: inFlight.length, lost: lost.length, spin, ms })
      const seen = `${place}\n${ended.stderr}\n${JSON.stringify([...answers].filter(([, answer]) => answer !== 'whole'))}`
      expect(inFlight.length, seen).toBeGreaterThanOrEqual(10)
      expect(lost, seen).toEqual([])
      // Half an answer is worse than none: whoever wasn't served knows it.
      expect([...answers.values()], seen).not.toContain('cut')
      expect(spin, seen).not.toBe('whole')
      expect({ code: ended.code, signal: ended.signal }, seen).toEqual({ code: null, signal: 'SIGTERM' })
      expect(ms, seen).toBeLessThan(GRACE)
      expect(ended.lines, seen).toContain('released')
      expect(blocked, seen).toMatchObject([{ where: 'javascript', freed: true }])
      expect(blocked[0]?.stack[0], seen).toMatch(/^at spin \(.*program\.mjs:\d+:\d+\)$/)
      expect(ended.stderr, seen).toMatch(/the event loop is blocked .*:\n {4}at spin \(.*program\.mjs:/)
      expect({ killed, leftBehind }, seen).toEqual({ killed: [], leftBehind: [] })
    }
  }
  try {
    await Promise.all(Array.from({ length: AT_A_TIME }, lane))
  } finally {
    if (process.env.EXODOS_TEST_ROUNDS) console.table(figures)
  }
})
