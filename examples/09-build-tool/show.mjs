// Ends the build tool in the ways that build tools end; looks from outside at what each has left, and whether the last
// request was answered. Ends with code 1 when a tool with exodos leaves a process behind. Linux only: it looks into /proc,
// and has Ctrl-C pressed in a terminal that `script` makes.
//
//   node show.mjs
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { get } from 'node:http'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { styleText } from 'node:util'
import { stopOnExit } from 'exodos/tree'

const WAYS = {
  'Ctrl-C': (program) => program.stdin.write('\x03'),
  SIGTERM: (_, pid) => process.kill(pid, 'SIGTERM'),
  'uncaught error': (program) => program.stdin.write('throw\n'),
  SIGKILL: (_, pid) => process.kill(pid, 'SIGKILL'),
}
const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const TOOLS = {
  'exodos/tree': [here('with-exodos.mjs')],
  'exodos/register': ['--import', import.meta.resolve('exodos/register'), here('without.mjs')],
  without: [here('without.mjs')],
}
const NAMES = { shell: /sh\0-c/, compiler: /compiler\.mjs/, 'its own': /^sleep\0/, server: /server\.mjs/ }
/** Milliseconds in which the one without exodos may end by itself. */
const PATIENCE = 1500
const TOO_LONG = 20_000

const paint = process.stdout.isTTY && !process.env.NO_COLOR ? styleText : (_, text) => text

console.log(`A build tool with a compiler and a server ends, on Node ${process.versions.node}\n`)
console.log(paint('dim', `${'way'.padEnd(16)}${'tool'.padEnd(17)}last answer  server was sent    ms    left`))
for (const way of Object.keys(WAYS)) {
  const ends = await Promise.all(Object.keys(TOOLS).map((tool) => show(tool, way)))
  for (const [i, end] of ends.entries()) print(i === 0 ? way : '', end)
}
console.log('\nms: from the end of the tool until nothing is left')

function print(way, { tool, answer, signals, ms, left }) {
  const isOurs = tool !== 'without'
  if (isOurs && (answer !== 'whole' || left.some((name) => name !== 'directory'))) process.exitCode = 1
  if (tool === 'exodos/tree' && left.length > 0) process.exitCode = 1
  const columns = `${answer.padEnd(13)}${signals.join(', ').padEnd(16)}${(left.length > 0 ? '' : ms.toFixed(0)).padStart(5)}    `
  console.log(
    `${way.padEnd(16)}${tool.padEnd(17)}${columns}${paint(left.length > 0 ? 'red' : 'green', left.join(', ') || 'nothing')}`,
  )
}

/** Starts a tool, asks its server for something, ends the tool, and looks. */
async function show(tool, way) {
  const mark = `BUILD_TOOL=${process.pid}-${Object.keys(TOOLS).indexOf(tool)}-${Object.keys(WAYS).indexOf(way)}`
  const words = [process.execPath, ...TOOLS[tool]].map((word) => `'${word}'`)
  const program = start(`${mark} ${words.join(' ')}`, way === 'Ctrl-C')
  const closed = once(program, 'close')
  const lines = []
  createInterface({ input: program.stdout }).on('line', (line) => lines.push(line))
  const [, pid, directory] = await said(lines, /process (\d+), (\S+)/)
  await said(lines, /compiled/)
  const [url] = await said(lines, /http:\S+/)
  const answer = await request(url)

  WAYS[way](program, Number(pid))
  while (isThere(pid)) await sleep(1)
  const since = performance.now()
  const left = () => [...processesWith(mark).map(({ name }) => name), ...(existsSync(directory) ? ['directory'] : [])]
  // With the tool's own means alone the directory stays when it is killed.
  const isOver = () => left().length === 0 || (tool === 'exodos/register' && way === 'SIGKILL' && left().join() === 'directory')
  while (!isOver() && performance.now() - since < (tool === 'without' ? PATIENCE : TOO_LONG)) await sleep(5)
  const ms = performance.now() - since
  const end = { tool, answer: await answer(), ms, left: left() }

  for (const { pid } of processesWith(mark)) process.kill(pid, 'SIGKILL')
  rmSync(directory, { recursive: true, force: true })
  program.stdin.destroy()
  await closed
  return { ...end, signals: lines.flatMap((line) => /server: (SIG\w+)/.exec(line)?.[1] ?? []) }
}

/** In a shell that stays, so that a terminal isn't closed when the tool ends. */
function start(command, inTerminal) {
  const script = `trap : INT; ${command}; read line`
  const [file, args] = inTerminal ? ['script', ['-qec', script, '/dev/null']] : ['sh', ['-c', script]]
  return stopOnExit(spawn(file, args, { stdio: ['pipe', 'pipe', 'ignore'] }))
}

async function said(lines, pattern) {
  for (const end = performance.now() + TOO_LONG; performance.now() < end; await sleep(10)) {
    const found = lines.map((line) => pattern.exec(line)).find(Boolean)
    if (found) return found
  }
  throw new Error(`it did not say ${pattern}:\n${lines.join('\n')}`)
}

/** Resolves when the answer has begun, with a function that tells whether all of it came. */
async function request(url) {
  const [response] = await once(get(url, { agent: false }), 'response')
  const text = (async () => {
    let all = ''
    for await (const part of response) all += part
    return all
  })().catch((error) => error.code)
  return async () => ((await text).includes('<h1>') ? 'whole' : await text)
}

function processesWith(mark) {
  return readdirSync('/proc').flatMap((pid) => {
    const has = /^\d+$/.test(pid) && read(pid, 'environ').split('\0').includes(mark)
    if (!has) return []
    const command = read(pid, 'cmdline')
    return { pid: Number(pid), name: Object.keys(NAMES).find((name) => NAMES[name].test(command)) ?? 'tool' }
  })
}

function isThere(pid) {
  const stat = read(pid, 'stat')
  return stat !== '' && !/\) [ZX]/.test(stat)
}

function read(pid, what) {
  try {
    return readFileSync(`/proc/${pid}/${what}`, 'latin1')
  } catch {
    // It has ended.
    return ''
  }
}
