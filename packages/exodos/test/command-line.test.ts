import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type Ended, node, nodeMajor, run, start } from './support/program.js'
import { exodosRun, main } from './support/supervise.js'

const exodos = (...args: string[]): Promise<Ended> => run('', { command: () => [node, main, ...args] })

describe('help', () => {
  test.each([
    [['--help'], 'Usage: exodos COMMAND'],
    [['-h'], 'Usage: exodos COMMAND'],
    [['help'], 'Usage: exodos COMMAND'],
    [['run', '--help'], 'Usage: exodos run'],
    [['run', '-h'], 'Usage: exodos run'],
    [['run', '--grace', '5s', '--help', '--', 'false'], 'Usage: exodos run'],
    [['doctor', '--help'], 'Usage: exodos doctor'],
    [['recover', '--help'], 'Usage: exodos recover'],
    [['ps', '--help'], 'Usage: exodos ps'],
  ])('%j', async (args, first) => {
    const ended = await exodos(...args)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.stdout.startsWith(first)).toBe(true)
  })

  test('names every command and every option, and the exit codes', async () => {
    const [all, ofRun, ofDoctor] = await Promise.all([exodos('--help'), exodos('run', '--help'), exodos('doctor', '--help')])
    for (const word of ['run', 'ps', 'doctor', 'recover']) expect(all.stdout).toContain(`\n  ${word} `)
    for (const word of ['--grace', '--kill-after', '--report', '125', '126', '127'])
      expect(ofRun.stdout).toContain(`\n  ${word} `)
    expect(ofDoctor.stdout).toContain('Exit status')
  })
})

test('--version', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  for (const option of ['--version', '-v']) expect(await exodos(option)).toMatchObject({ code: 0, stdout: `${version}\n` })
})

describe('what is wrong ends with 125 and says what was meant', () => {
  test.each([
    [['rnu', '--', 'true'], /^exodos: unknown command rnu; did you mean run\?\n/],
    [['docter'], /^exodos: unknown command docter; did you mean doctor\?\n/],
    [['node', 'app.js'], /^exodos: unknown command node\n\nexodos --help/],
    [['constructor'], /^exodos: unknown command constructor\n/],
    [['run', '--garce', '5s', '--', 'true'], /^exodos: unknown option --garce; did you mean --grace\?\n\n/],
    [['run', '--kill-afer=5s', 'true'], /^exodos: unknown option --kill-afer=5s; did you mean --kill-after\?\n\n/],
    [['run', '-x', 'true'], /^exodos: unknown option -x\n\n/],
    [['run', '--toString', 'true'], /^exodos: unknown option --toString\n\n/],
    [['doctor', '--grace=1s'], /^exodos: unknown option --grace=1s\n\n/],
    [['run', '--help=1', 'true'], /^exodos: --help takes no value\n\n/],
    [['run', '--grace'], /^exodos: --grace needs a value\n\n/],
    [['run', '--report', '--', 'true'], /^exodos: --report needs a value\n\n/],
    [['doctor', 'now'], /^exodos: doctor: takes no arguments, got now\n\n/],
    [['recover', 'all'], /^exodos: recover: takes no arguments, got all\n\n/],
    [['recover', '--dry'], /^exodos: unknown option --dry\n\n/],
    [['run'], /^exodos: run: no command is given/],
    [['run', '--'], /^exodos: run: no command is given/],
    [['run', '--grace', '5s', '--'], /^exodos: run: no command is given/],
    ...['', '3', 'soon', '5 parsecs', '-1s', 'NaN', 'Infinity', '1e99s'].flatMap((text) =>
      ['--grace', '--kill-after'].map((option) => [
        ['run', `${option}=${text}`, '--', 'true'],
        new RegExp(`^exodos: run: ${option}: expected .*\\n\\n`),
      ]),
    ),
  ] as [string[], RegExp][])('%j', async (args, message) => {
    const ended = await exodos(...args)
    expect(ended).toMatchObject({ code: 125, stdout: '' })
    expect(ended.stderr).toMatch(message)
  })

  test('no command: the help, and 125', async () => {
    expect(await exodos()).toMatchObject({ code: 125 })
  })

  test('EXODOS_GRACE that says no duration costs a warning, as in the program itself', async () => {
    const ended = await run('', { command: () => exodosRun([], 'true'), env: { EXODOS_GRACE: 'soon' } })
    expect(ended.code).toBe(0)
    expect(ended.stderr).toContain('EXODOS_GRACE')
  })
})

describe('the program', () => {
  test('127: not found', async () => {
    const ended = await exodos('run', '--', 'no-such-program-here', 'x')
    expect(ended).toMatchObject({ code: 127, stderr: 'exodos run: no-such-program-here: not found\n' })
  })

  test.each([
    ['a file without the permission', (dir: string) => writeFileSync(join(dir, 'thing'), 'true', { mode: 0o644 }), 'EACCES'],
    ['a directory', (dir: string) => mkdirSync(join(dir, 'thing')), 'EACCES'],
  ])('126: %s', async (_, make, why) => {
    const ended = await run('', {
      command: (file) => {
        make(dirname(file))
        return exodosRun([], './thing')
      },
    })
    expect(ended).toMatchObject({ code: 126, stderr: `exodos run: ./thing: can't be executed (${why})\n` })
  })

  const echo = ['-e', 'console.log(JSON.stringify(process.argv.slice(1)))', '--']
  const own = ['--grace', '1s', '--report', '--help', '-h', '--', '', 'a b', '$HOME', '*']
  test.each([
    ['after --', ['run', '--', node, ...echo]],
    ['without --', ['run', node, ...echo]],
    ['after options and --', ['run', '--grace', '5s', '--kill-after=1s', '--', node, ...echo]],
    ['after options, without --', ['run', '--grace', '5s', '--kill-after=1s', node, ...echo]],
  ])('its options are its own: %s', async (_, args) => {
    const ended = await exodos(...args, ...own)
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(JSON.parse(ended.stdout)).toEqual(own)
  })

  test('its streams are those of `exodos run`', async () => {
    const ended = await run('', {
      command: () => ['sh', '-c', 'echo in | "$@"', 'sh', ...exodosRun([], 'sh', '-c', 'cat; echo err >&2')],
    })
    expect(ended).toMatchObject({ code: 0, stdout: 'in\n', stderr: 'err\n' })
  })
})

describe('doctor', () => {
  const doctor = (...options: string[]): Promise<Ended> => run('', { command: () => [node, ...options, main, 'doctor'] })

  test('0 where all holds', async () => {
    const ended = await doctor()
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(ended.lines.length).toBeGreaterThan(6)
    expect(ended.lines.filter((line) => !line.startsWith('yes  '))).toEqual([])
  })

  const restricted = ['--permission', '--allow-fs-read=*']
  test.runIf(nodeMajor >= 22).each([
    ['--disable-sigusr1', ['--disable-sigusr1'], 'exodos run: a blocked event loop is freed', /SIGUSR1.*--disable-sigusr1/],
    ['the permission model', restricted, 'the watchdog: a thread that names what hangs, and kills', /--allow-worker/],
    ['the permission model', restricted, 'exodos run: a blocked event loop is freed', /restricted|permission/],
    [
      'the permission model, no files',
      ['--permission'],
      'exodos run: what a program leaves in its process group is found',
      /may not be read/,
    ],
    [
      'the permission model, threads allowed',
      [...restricted, '--allow-worker'],
      'the watchdog shows the stack where the event loop is stuck',
      /permission/,
    ],
  ])('1 and NO, with why, under %s', async (_, options, what, why) => {
    const ended = await doctor(...options)
    expect(ended.code).toBe(1)
    const at = ended.lines.indexOf(`NO   ${what}`)
    expect(at).toBeGreaterThan(-1)
    expect(ended.lines[at + 1]).toMatch(why)
  })
})

describe('recover', () => {
  /** Leaves a file, another one in the place of a file, and a command that fails; its guardian is killed with it. */
  const program = `
    import { durable } from 'exodos/durable'
    import { renameSync, writeFileSync } from 'node:fs'
    import { join } from 'node:path'
    const [file, exchanged, other] = ['file', 'exchanged', 'other'].map((name) => join(process.cwd(), name))
    for (const path of [file, exchanged, other]) writeFileSync(path, '')
    durable.command(['/bin/sh', '-c', 'test -e go'])
    for (const path of [file, exchanged]) durable.path(path)
    renameSync(other, exchanged)
    setInterval(() => {}, 60_000)
    process.send('ready')`

  async function leave(): Promise<{ recover: (...options: string[]) => Promise<Ended>; dir: string }> {
    const left = start(program, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    await once(left.child, 'message')
    const pid = left.child.pid as number
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number)
    // Stopped, it doesn't get round to its work.
    for (const guardian of children) process.kill(guardian, 'SIGSTOP')
    left.kill('SIGKILL')
    await left.ended
    for (const guardian of children) process.kill(guardian, 'SIGKILL')
    const { dir } = left
    const env = { EXODOS_STATE_DIR: join(dir, 'state') }
    return { dir, recover: (...options) => run('', { command: () => [node, main, 'recover', ...options], env }) }
  }

  test('does what was left, says what it left alone, keeps what fails, and says so', async () => {
    const { dir, recover } = await leave()
    const file = join(dir, 'file')
    const exchanged = join(dir, 'exchanged')
    const dry = await recover('--dry-run')
    expect(dry).toMatchObject({ code: 0, stderr: '' })
    expect(dry.lines).toEqual([`would remove ${exchanged}`, `would remove ${file}`, 'would /bin/sh -c test -e go'])
    expect(existsSync(file)).toBe(true)

    const first = await recover()
    expect(first.code).toBe(1)
    expect(first.lines).toEqual([
      `done  remove ${file}`,
      `left  remove ${exchanged}`,
      `      ${exchanged} is not the one that was recorded`,
      'FAIL  /bin/sh -c test -e go',
      expect.stringContaining('exit code 1'),
    ])
    expect([file, exchanged].map((path) => existsSync(path))).toEqual([false, true])

    writeFileSync(join(dir, 'go'), '')
    expect(await recover()).toMatchObject({ code: 0, stdout: 'done  /bin/sh -c test -e go\n' })
    expect(await recover()).toMatchObject({ code: 0, stdout: `nothing is left to be done in ${join(dir, 'state')}\n` })
  })

  test('doctor says that something was left behind for good', async () => {
    const { dir, recover } = await leave()
    await recover()
    const ended = await run('', { command: () => [node, main, 'doctor'], env: { EXODOS_STATE_DIR: join(dir, 'state') } })
    expect(ended.code).toBe(1)
    expect(ended.stdout).toContain(
      'NO   exodos/durable: nothing was left behind\n     programs that died with something left to be done: 0; of which something failed, or was left alone: 1',
    )
  })

  test('a state directory that can not be one', async () => {
    const ended = await run('', { command: () => [node, main, 'recover'], env: { EXODOS_STATE_DIR: 'state' } })
    expect(ended).toMatchObject({ code: 125, stdout: '' })
    expect(ended.stderr).toContain('state: is not an absolute path')
  })

  test('no state directory: nothing is left, and none is made', async () => {
    const ended = await exodos('recover', '--dry-run')
    expect(ended).toMatchObject({ code: 0, stdout: 'nothing is left to be done: there are no records\n', stderr: '' })
    expect(existsSync(join(ended.dir, 'state'))).toBe(false)
  })
})
