import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { prelude, run, runAndKill } from './support/program.js'

/**
 * Other exit libraries in the same process. Each row says how a library is used, and what becomes of the process.
 *
 * With a hook of the application (`exodos`) it dies by the signal: exodos is first in line, the first reason wins, and
 * what the others do then (`process.exit`, another signal) neither cuts our cleanup short nor changes the end.
 * With a library's hook alone (`exodos/lib`) a peer that handles signals is the application, and decides.
 */
interface Peer {
  name: string
  use: string
  /** What is printed: their cleanups take 10 ms where they may be asynchronous, ours 50. */
  lines: string[]
  /** Default: empty. */
  stderr?: RegExp
  guest: {
    /** `signal`: dies by it. A function: exits with a code. */
    end: 'signal' | ((signalNumber: number) => number)
    lines: string[]
    stderr?: RegExp
  }
}

/** close-with-grace catches what its own process.exit throws and logs it. */
const ONE_LINE = /^\[ExitRequest: process\.exit\(0\) was called: [^\n]*\]\n$/

const peers: Peer[] = [
  {
    // It leaves a signal to whoever else listens, and cleans up in 'exit', which is emitted after our run.
    name: 'signal-exit',
    use: `const { onExit: theirs } = await import('signal-exit'); theirs((code, signal) => say('theirs'))`,
    lines: ['ours', 'theirs'],
    guest: { end: 'signal', lines: ['ours', 'theirs'] },
  },
  {
    name: 'exit-hook, asynchronous',
    use: `const { asyncExitHook } = await import('exit-hook'); asyncExitHook(async () => { await sleep(10); say('theirs') }, { wait: 5000 })`,
    lines: ['theirs', 'ours'],
    guest: { end: (number) => 128 + number, lines: ['theirs', 'ours, cut'] },
  },
  {
    name: 'exit-hook, synchronous',
    use: `const { default: theirs } = await import('exit-hook'); theirs(() => say('theirs'))`,
    lines: ['theirs', 'ours'],
    guest: { end: (number) => 128 + number, lines: ['theirs', 'ours, cut'] },
  },
  {
    name: 'async-exit-hook, asynchronous',
    use: `const { default: theirs } = await import('async-exit-hook'); theirs((done) => setTimeout(() => { say('theirs'); done() }, 10))`,
    lines: ['theirs', 'ours'],
    guest: { end: (number) => 128 + number, lines: ['theirs', 'ours, cut'] },
  },
  {
    name: 'async-exit-hook, synchronous',
    use: `const { default: theirs } = await import('async-exit-hook'); theirs(() => say('theirs'))`,
    lines: ['theirs', 'ours'],
    guest: { end: (number) => 128 + number, lines: ['theirs', 'ours, cut'] },
  },
  {
    name: 'close-with-grace',
    use: `const { default: theirs } = await import('close-with-grace'); theirs(async () => { await sleep(10); say('theirs') })`,
    lines: ['theirs', 'ours'],
    stderr: ONE_LINE,
    guest: { end: () => 0, lines: ['theirs', 'ours, cut'] },
  },
  {
    // It sends the signal again at once: a repeat for us, and for a guest the one that nobody else handles any more.
    name: 'when-exit',
    use: `const { default: theirs } = await import('when-exit'); theirs(() => say('theirs'))`,
    lines: ['theirs', 'ours'],
    guest: { end: 'signal', lines: ['theirs', 'ours'] },
  },
  {
    name: 'prexit',
    use: `const { default: theirs } = await import('prexit'); theirs(async () => { await sleep(10); say('theirs') })`,
    lines: ['theirs', 'ours'],
    guest: { end: () => 0, lines: ['theirs', 'ours, cut'] },
  },
]

const signals = { SIGINT: 2, SIGTERM: 15 } as const
const face = { host: 'exodos', guest: 'exodos/lib' } as const

/** The program, in both orders of loading. The file shows how often our cleanup came to its end. */
const program = (use: string, order: 'ours first' | 'theirs first', as: keyof typeof face) => {
  const ours = `
    const { onExit } = await import('${face[as]}')
    onExit(
      async () => { await sleep(200); appendFileSync('ours.txt', 'done'); say('ours') },
      { name: 'ours', sync: () => say('ours, cut') })`
  return `
    import { appendFileSync, writeSync } from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    const say = (text) => writeSync(1, text + '\\n')
    ${order === 'ours first' ? `${ours}\n${use}` : `${use}\n${ours}`}
    setTimeout(() => {}, 60_000)
    say('ready')`
}

/** `runAndKill` ends before the program's directory is gone, so that the file can still be read. */
const written = (dir: string) => readFileSync(join(dir, 'ours.txt'), 'utf8')

for (const { name, use, lines, stderr = /^$/, guest } of peers) {
  for (const order of ['ours first', 'theirs first'] as const) {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      test(`${name}, ${order}, ${signal}: our cleanup is completed once, theirs runs, death by the signal`, async () => {
        const ended = await runAndKill(program(use, order, 'host'), signal)
        expect(ended).toMatchObject({ code: null, signal, lines: ['ready', ...lines], stderr: expect.stringMatching(stderr) })
        expect(written(ended.dir)).toBe('done')
        expect(ended.report).toMatchObject({
          exit: { signal },
          cut: false,
          forced: false,
          hooks: [{ name: 'ours', status: 'ok' }],
        })
        expect(ended.report?.reasons[0]).toEqual({ kind: 'signal', signal })
      })

      const { end } = guest
      const status = end === 'signal' ? { code: null, signal } : { code: end(signals[signal]), signal: null }
      test(`${name}, ${order}, ${signal}, guest: ${status.signal ?? `exit code ${status.code}`}`, async () => {
        const ended = await runAndKill(program(use, order, 'guest'), signal)
        expect(ended).toMatchObject({
          ...status,
          lines: ['ready', ...guest.lines],
          stderr: expect.stringMatching(guest.stderr ?? /^$/),
        })
        if (guest.lines.includes('ours')) expect(written(ended.dir)).toBe('done')
      })
    }
  }

  for (const order of ['ours first', 'theirs first'] as const) {
    test(`${name}, ${order}: process.exit(5) waits for our cleanup`, async () => {
      const ended = await run(`${program(use, order, 'host')}\nsetTimeout(() => process.exit(5), 1)`)
      expect(ended).toMatchObject({ code: 5, signal: null })
      expect(written(ended.dir)).toBe('done')
    })
  }
}

/**
 * signal-exit keeps the `process.emit` and `process.reallyExit` of the time when it was imported, puts its own in
 * their place at its first registration, and puts the kept ones back when its last callback is taken off. So both
 * its coming and its going can take our patches away.
 */
const steps = {
  theirImport: `const { onExit: theirs } = await import('signal-exit')`,
  theirs: `const off = theirs(() => say('theirs'))`,
  ours: `onExit(async () => { await sleep(20); say('ours') })`,
  unload: `off()`,
}
type Step = keyof typeof steps

for (const order of [
  ['theirImport', 'theirs', 'ours'],
  ['theirImport', 'ours', 'theirs'],
  ['ours', 'theirImport', 'theirs'],
  ['theirImport', 'theirs', 'ours', 'unload'],
  ['theirImport', 'ours', 'theirs', 'unload'],
  ['ours', 'theirImport', 'theirs', 'unload'],
] satisfies Step[][]) {
  const all = order.map((step) => steps[step as Step])
  const source = `${prelude}${all.join('\n')}\nhold()\n`
  const lines = order.includes('unload') ? ['ours'] : ['ours', 'theirs']
  const name = `signal-exit: ${order.join(', ')}`

  test(`${name}: process.exit finishes our asynchronous hook, unseen`, async () => {
    const ended = await run(`${source} setTimeout(() => { process.exit(42); say('after') })`)
    expect(ended).toMatchObject({ code: 42, signal: null, stderr: '', lines })
  })

  test(`${name}: process.exit in an async function, too`, async () => {
    const ended = await run(`${source} setTimeout(async () => { process.exit(42); say('after') })`)
    expect(ended).toMatchObject({ code: 42, signal: null, stderr: '', lines })
  })

  test(`${name}: SIGTERM finishes it`, async () => {
    const ended = await runAndKill(`${source} say('ready')`, 'SIGTERM')
    expect(ended).toMatchObject({ signal: 'SIGTERM', stderr: '', lines: ['ready', ...lines] })
  })

  test(`${name}: an uncaught error finishes it and is printed once`, async () => {
    const ended = await run(`${source} setTimeout(() => { throw new Error('fatal') })`)
    expect(ended).toMatchObject({ code: 1, signal: null, lines })
    expect(ended.stderr.match(/Error: fatal/g)).toHaveLength(1)
  })

  test(`${name}: an uncaught error in the same tick finishes it`, async () => {
    const ended = await run(`${prelude}${all.slice(0, -1).join('\n')}\nhold()
      setTimeout(() => { ${all.at(-1)}; throw new Error('fatal') })`)
    expect(ended).toMatchObject({ code: 1, signal: null, lines })
    expect(ended.stderr.match(/Error: fatal/g)).toHaveLength(1)
  })

  test(`${name}: the loss of the parent finishes it`, async () => {
    const ended = await run(`${prelude}
      import { fork } from 'node:child_process'
      if (process.send) {
        ${all.join('\n')}
        hold()
        process.send('ready')
      } else {
        const child = fork(process.argv[1])
        child.once('message', () => child.disconnect())
        child.once('exit', (code) => say('code ' + code))
      }`)
    expect(ended).toMatchObject({ code: 0, signal: null, stderr: '', lines: [...lines, 'code 0'] })
  })

  test(`${name}: process.reallyExit runs what is synchronous`, async () => {
    const ended = await run(`${source} onExit(() => say('sync')); process.reallyExit(42)`)
    expect(ended).toMatchObject({ code: 42, signal: null })
    expect(ended.lines).toEqual(order.includes('unload') ? ['sync'] : expect.arrayContaining(['sync', 'theirs']))
  })
}

test('a library that locks files with signal-exit and one that cleans up with exodos/lib: both do, death by SIGTERM', async () => {
  const source = (order: string) => `
    import { mkdirSync, rmSync, existsSync, writeSync } from 'node:fs'
    import { setTimeout as sleep } from 'node:timers/promises'
    import { onExit } from 'exodos/lib'
    import { onExit as theirs } from 'signal-exit'
    const lock = () => { mkdirSync('file.lock'); theirs(() => rmSync('file.lock', { recursive: true })) }
    const ours = () => onExit(async () => { await sleep(20); writeSync(1, 'ours, lock held: ' + existsSync('file.lock') + '\\n') })
    ${order}
    setTimeout(() => {}, 60_000)
    writeSync(1, 'ready\\n')`
  for (const order of ['lock(); ours()', 'ours(); lock()']) {
    const ended = await runAndKill(source(order), 'SIGTERM')
    expect(ended).toMatchObject({ signal: 'SIGTERM', stderr: '', lines: ['ready', 'ours, lock held: true'] })
    expect(() => readFileSync(join(ended.dir, 'file.lock'))).toThrow(/ENOENT/)
  }
})
