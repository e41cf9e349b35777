import { chmodSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { transformSync } from 'esbuild'
import { describe, expect, test, vi } from 'vitest'
import { type Ended, type ProgramOptions, poll, run, start } from './support/program.js'

// They wait more than they work.
vi.setConfig({ maxConcurrency: 3 })

/** The program's own directories for state and temporary files. As root, rights would hinder nobody. */
const prelude = `
import { closeOnExit, exit, onExit, scope } from 'exodos'
import { durable } from 'exodos/durable'
import { tempDir, tempFile } from 'exodos/temp'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
process.env.EXODOS_STATE_DIR = path.resolve('state')
process.env.TMPDIR = path.resolve('tmp')
fs.mkdirSync('tmp')
fs.mkdirSync('state')
if (process.getuid() === 0) {
  for (const dir of ['.', 'tmp', 'state']) fs.chownSync(dir, 65534, 65534)
  process.setgroups([])
  process.setgid(65534)
  process.setuid(65534)
}
const say = (value) => fs.writeSync(1, JSON.stringify(value) + '\\n')
const hold = () => setTimeout(() => {}, 60_000)
const filled = (options) => {
  const dir = tempDir(options)
  fs.mkdirSync(dir.path + '/a')
  fs.writeFileSync(dir.path + '/a/file', 'text')
  return dir
}
`

const ways: Record<string, string> = {
  'natural end': '',
  'process.exit': 'process.exit(0)',
  'exit of exodos': 'exit(0)',
  reallyExit: 'process.reallyExit(0)',
  'an error': "throw new Error('meant')",
  SIGTERM: "process.kill(process.pid, 'SIGTERM'); hold()",
  SIGKILL: "process.kill(process.pid, 'SIGKILL'); hold()",
}

/** What is left in the directory for temporary files, and of records. */
function left(dir: string): string[] {
  return [...list(join(dir, 'tmp')), ...list(join(dir, 'state/failed')), ...liveOwners(dir)]
}

/** Those for whom somebody has something to do still. */
const liveOwners = (dir: string) =>
  list(join(dir, 'state/owners')).filter((owner) => list(owner).some((file) => statSync(file, { throwIfNoEntry: false })?.size))

function list(dir: string): string[] {
  try {
    return readdirSync(dir).map((name) => join(dir, name))
  } catch {
    return []
  }
}

/** Removed by the program itself, or soon by the guardian. */
async function expectClean({ dir }: { dir: string }): Promise<void> {
  await poll(() => left(dir), { timeout: 15_000, interval: 20 }).toEqual([])
}

/** Runs a program to its end, after which all must be gone; what it said. */
async function said(source: string, options?: ProgramOptions): Promise<unknown[]> {
  const ended = await run(prelude + source, options)
  await expectClean(ended)
  return ended.lines.map((line) => JSON.parse(line))
}

describe.concurrent('where it is made, how it is called, and who may use it', () => {
  const name = (call: string) => `path.basename(${call}.path)`
  const cases: [what: string, expression: string, expected: unknown][] = [
    ["begins with the program's name", name('tempDir()'), expect.stringMatching(/^program-[0-9a-f]{24}$/)],
    ['prefix', name("tempDir({ prefix: 'upload' })"), expect.stringMatching(/^upload-[0-9a-f]{24}$/)],
    [
      'prefix and postfix',
      name("tempFile({ prefix: 'a b', postfix: '.tar.gz' })"),
      expect.stringMatching(/^a b-[0-9a-f]{24}\.tar\.gz$/),
    ],
    ['prefix with dots', name("tempDir({ prefix: '..' })"), expect.stringMatching(/^\.\.-/)],
    ['never a name that looks like an option', name("tempDir({ prefix: '' })"), expect.stringMatching(/^[^-]/)],
    ["in the system's directory", 'path.dirname(tempDir().path) === process.env.TMPDIR', true],
    ['absolute, with a relative parent', "tempDir({ parent: 'tmp' }).path.startsWith(process.cwd() + '/tmp/program-')", true],
    ['parent with a trailing slash', "path.relative('.', path.dirname(tempDir({ parent: 'tmp/' }).path))", 'tmp'],
    ["parent with '..'", "path.relative('.', path.dirname(tempFile({ parent: 'tmp/../tmp' }).path))", 'tmp'],
    ['parent that is a link', "(fs.symlinkSync('tmp', 'link'), fs.existsSync(tempDir({ parent: 'link' }).path))", true],
    [
      'in another one',
      "path.basename(path.dirname(tempDir({ parent: tempDir({ prefix: 'outer' }).path }).path)).slice(0, 5)",
      'outer',
    ],
    ['a file is empty', 'fs.readFileSync(tempFile().path).length', 0],
    ['1,000 names', 'new Set(Array.from({ length: 1000 }, () => tempFile().path)).size', 1000],
    ['is empty', 'fs.readdirSync(tempDir().path)', []],
    ['is shown by JSON', "Object.keys(JSON.parse(JSON.stringify(tempDir()))).includes('path')", true],
  ]
  test('all in one program', async () => {
    const source = cases.map(([what, expression]) => `say([${JSON.stringify(what)}, ${expression}])`)
    expect(await said(source.join('\n'))).toEqual(cases.map(([what, , expected]) => [what, expected]))
  })

  // Each in a program of its own, whose state directory is made with that mask, too.
  test.each([
    [0o022, ['700', '600', '755', '644']],
    [0o077, ['700', '600', '700', '600']],
    [0, ['700', '600', '777', '666']],
  ])('rights, umask %i', async (umask, expected) => {
    const made = ['tempDir()', 'tempFile()', 'tempDir({ mode: 0o777 })', 'tempFile({ mode: 0o666 })']
    const rights = `[${made}].map(({ path }) => (fs.statSync(path).mode & 0o7777).toString(8))`
    expect(await said(`process.umask(${umask}); say(${rights})`)).toEqual([expected])
  })
})

test.concurrent('bad input is refused, by name, and nothing is made or recorded', async () => {
  const cases: [call: string, error: RegExp][] = [
    ['tempDir(null)', /^ERR_EXODOS_INVALID_ARG tempDir\(options\): expected an object, got null/],
    ["tempDir('/tmp')", /^ERR_EXODOS_INVALID_ARG tempDir\(options\): expected an object/],
    ["tempDir({ dir: '/tmp' })", /^ERR_EXODOS_INVALID_ARG tempDir\(options\): expected one of prefix, parent, .*"dir"/],
    ["tempDir({ postfix: 'a' })", /^ERR_EXODOS_INVALID_ARG tempDir\(options\): .*"postfix"/],
    ["tempFile({ suffix: 'a' })", /^ERR_EXODOS_INVALID_ARG tempFile\(options\): .*"suffix"/],
    ["tempDir({ prefix: 'a/b' })", /^ERR_EXODOS_INVALID_ARG options\.prefix: expected a part of a file name, got "a\/b"/],
    ["tempDir({ prefix: '../a' })", /^ERR_EXODOS_INVALID_ARG options\.prefix/],
    ["tempDir({ prefix: 'a\\0' })", /^ERR_EXODOS_INVALID_ARG options\.prefix/],
    ['tempDir({ prefix: 1 })', /^ERR_EXODOS_INVALID_ARG options\.prefix/],
    ["tempFile({ postfix: '/a' })", /^ERR_EXODOS_INVALID_ARG options\.postfix/],
    ["tempDir({ prefix: 'a'.repeat(300) })", /^ENAMETOOLONG/],
    ["tempDir({ parent: '' })", /^ERR_EXODOS_INVALID_ARG options\.parent: expected the path of a directory/],
    ["tempDir({ parent: new URL('file:///tmp') })", /^ERR_EXODOS_INVALID_ARG options\.parent/],
    ["tempDir({ parent: 'tmp\\0' })", /^ERR_EXODOS_INVALID_ARG options\.parent.*NUL/],
    ["tempDir({ parent: 'tmp/missing' })", /^ENOENT.*tmp\/missing/],
    ["tempFile({ parent: 'tmp/missing' })", /^ENOENT.*tmp\/missing/],
    ["tempDir({ parent: 'program.mjs' })", /^ENOTDIR.*program\.mjs/],
    [
      "tempDir({ parent: 'open/inner' })",
      /^ERR_EXODOS_INVALID_ARG options\.parent: .*which everybody may write to, and has no sticky bit/,
    ],
    ["tempDir({ mode: '700' })", /^ERR_EXODOS_INVALID_ARG options\.mode: expected rights, as 0o700, got "700"/],
    ['tempDir({ mode: -1 })', /^ERR_EXODOS_INVALID_ARG options\.mode/],
    ['tempDir({ mode: 0o100000 })', /^ERR_EXODOS_INVALID_ARG options\.mode/],
    ['tempDir({ keep: 1 })', /^ERR_EXODOS_INVALID_ARG options\.keep: expected true or false, got 1/],
  ]
  const source = `
    fs.mkdirSync('open/inner', { recursive: true })
    fs.chmodSync('open', 0o777)
    for (const call of ${JSON.stringify(cases.map(([call]) => call))}) {
      try { eval(call); say('made') } catch (error) { say(error.code + ' ' + error.message) }
    }
    say([durable.status().records, fs.readdirSync('tmp'), fs.readdirSync('open/inner')])`
  expect(await said(source)).toEqual([...cases.map(([, error]) => expect.stringMatching(error)), [0, [], []]])
})

describe.concurrent('removed or kept by hand', () => {
  const cases: [act: string, isThere: boolean][] = [
    ['await t.remove()', false],
    ['t.removeSync()', false],
    ['t[Symbol.dispose]()', false],
    ['await t[Symbol.asyncDispose]()', false],
    ['await t.remove(); await t.remove()', false],
    ['t.removeSync(); t.removeSync()', false],
    ['await Promise.all([t.remove(), t.remove()])', false],
    ['await t.remove(); t.removeSync(); t.keep()', false],
    ['fs.rmSync(t.path, { recursive: true }); await t.remove()', false],
    ['fs.rmSync(t.path, { recursive: true }); t.removeSync()', false],
    ['t.keep()', true],
    ['t.keep(); t.keep()', true],
  ]
  test.each(['filled()', 'tempFile()'])('%s, one after another in one program', async (face) => {
    const source = cases.map(
      ([act, isThere]) => `{
        const t = ${face}; ${act}; say([${JSON.stringify(act)}, fs.existsSync(t.path), durable.status().records])
        onExit(() => { if (${isThere}) fs.rmSync(t.path, { recursive: true }) }, { phase: 'flush' })
      }`,
    )
    expect(await said(source.join('\n'))).toEqual(cases.map(([act, isThere]) => [act, isThere, 0]))
  })

  test.each(['process.exit(0)', "process.kill(process.pid, 'SIGKILL'); hold()"])(
    'what is to be kept is still there: %s',
    async (end) => {
      const ended = await run(`${prelude}
      tempDir({ keep: true, prefix: 'one' }); tempFile({ keep: true, prefix: 'two' }); filled({ prefix: 'three' }).keep()
      tempDir({ prefix: 'gone' })
      ${end}`)
      const names = () => readdirSync(join(ended.dir, 'tmp')).map((name) => name.split('-')[0])
      await poll(names, { timeout: 15_000 }).toEqual(expect.arrayContaining(['one', 'three', 'two']))
      await poll(() => names().length, { timeout: 15_000 }).toBe(3)
    },
  )

  test('with the option keep it is still removed by hand', async () => {
    const source = `
      const [dir, file] = [tempDir({ keep: true }), tempFile({ keep: true })]
      dir.removeSync(); await file.remove()
      say([dir, file].map(({ path }) => fs.existsSync(path)))
      for (const { path } of [dir, file]) fs.rmSync(path, { recursive: true, force: true })`
    expect(await said(source)).toEqual([[false, false]])
  })

  test('`using` and `await using`', async () => {
    const source = `
      let paths
      { using a = filled(); await using b = filled(); using c = tempFile(); paths = [a.path, b.path, c.path]; say(paths.map(fs.existsSync)) }
      say(paths.map(fs.existsSync))`
    const { code } = transformSync(prelude + source.replaceAll('map(fs.existsSync)', 'map((each) => fs.existsSync(each))'), {
      target: 'node20',
    })
    const ended = await run(code)
    expect(ended).toMatchObject({ code: 0, stderr: '', stdout: '[true,true,true]\n[false,false,false]\n' })
    await expectClean(ended)
  })
})

describe.concurrent('whatever is in it', () => {
  const contents: Record<string, string> = {
    nothing: '',
    '1,000 files': "for (let n = 0; n < 1000; n++) fs.writeFileSync(dir + '/' + n, 'text')",
    'directories that may only be read': `
      fs.mkdirSync(dir + '/a/b', { recursive: true }); fs.writeFileSync(dir + '/a/b/file', '')
      fs.chmodSync(dir + '/a/b', 0o555); fs.chmodSync(dir + '/a', 0o500)`,
    'a directory without any rights': "fs.mkdirSync(dir + '/a/b', { recursive: true }); fs.chmodSync(dir + '/a', 0)",
    'it may only be read itself': "fs.writeFileSync(dir + '/a', ''); fs.chmodSync(dir, 0o500)",
    'links to outside':
      "fs.symlinkSync(process.cwd() + '/precious', dir + '/dir'); fs.symlinkSync('../../precious/file', dir + '/file')",
    'a tree deeper than any path': `
      const home = process.cwd()
      process.chdir(dir)
      for (let n = 0; n < 3000; n++) { fs.mkdirSync('d'); process.chdir('d') }
      process.chdir(home)`,
    'odd names': "for (const name of ['-rf', ' ', '*', '\\n', '\\u{1f512}']) fs.mkdirSync(dir + '/' + name)",
  }
  const cases = Object.keys(contents).flatMap((what) => ['natural end', 'SIGTERM', 'SIGKILL'].map((way) => [what, way] as const))
  test.each(cases)('%s: removed by %s', async (what, way) => {
    const ended = await run(`${prelude}
      fs.mkdirSync('precious'); fs.writeFileSync('precious/file', 'text')
      const dir = tempDir().path
      ${contents[what]}
      ${ways[way]}`)
    expect(ended.stderr).toBe('')
    await expectClean(ended)
    expect(readdirSync(join(ended.dir, 'precious'))).toEqual(['file'])
  })

  test.each(Object.keys(contents))('%s: removed by removeSync', async (what) => {
    const source = `
      fs.mkdirSync('precious'); fs.writeFileSync('precious/file', 'text')
      const made = tempDir(), dir = made.path
      ${contents[what]}
      made.removeSync(); say([fs.existsSync(dir), fs.existsSync('precious/file')])`
    expect(await said(source)).toEqual([[false, true]])
  })
})

describe.concurrent('made wherever', () => {
  const places: Record<string, string> = {
    'at the top': 'filled()',
    'in another one': 'filled({ parent: filled().path })',
    'two, one in the other, the inner one removed before': 'filled({ parent: filled().path }).removeSync()',
    'two, one in the other, the outer one removed before':
      'const outer = filled(); filled({ parent: outer.path }); await outer.remove()',
    'in announce': "onExit(() => { filled() }, { phase: 'announce' })",
    'in drain': "onExit(() => { filled() }, { phase: 'drain' })",
    'in save': "onExit(() => { filled() }, { phase: 'save' })",
    'in release': 'onExit(() => { filled() })',
    'in flush': "onExit(() => { filled() }, { phase: 'flush' })",
    'in an async hook, after a while': 'onExit(async () => { await sleep(5); filled(); tempFile() })',
    "in 'exit'": "process.on('exit', () => filled())",
    "in 'beforeExit'": "process.once('beforeExit', () => filled())",
    'in a scope': "scope({ name: 'job' }).use(filled())",
    'in a timer': 'setTimeout(filled, 1); await sleep(10)',
    'beside a hook that fails': "filled(); onExit(() => { throw new Error('meant') }); filled()",
    'beside a hook that hangs': 'filled(); onExit(() => new Promise(() => {}), { timeout: 50 }); filled()',
  }
  const cases = Object.keys(places).flatMap((place) => Object.keys(ways).map((way) => [place, way] as const))
  test.each(cases)('%s, %s', async (place, way) => {
    await expectClean(await run(`${prelude}${places[place]}\n${ways[way]}`))
  })
})

describe.concurrent('in a directory that everybody may write to', () => {
  const open = "fs.mkdirSync('open'); fs.chmodSync('open', 0o777); const made = filled({ parent: 'open' })\n"

  test.each(Object.keys(ways))('removed: %s', async (way) => {
    const ended = await run(`${prelude}${open}${ways[way]}`)
    await poll(() => list(join(ended.dir, 'open')), { timeout: 15_000 }).toEqual([])
  })

  test.each(Object.keys(ways))('what somebody has put in its place is left alone: %s', async (way) => {
    const replaced = `fs.renameSync(made.path, 'open/theirs'); fs.mkdirSync(made.path); fs.writeFileSync(made.path + '/precious', '')\n`
    const ended = await run(`${prelude}${open}${replaced}process.on('exit', () => {})\n${ways[way]}`)
    await poll(() => liveOwners(ended.dir), { timeout: 15_000 }).toEqual([])
    expect(list(join(ended.dir, 'open')).flatMap(list)).toEqual(expect.arrayContaining([expect.stringMatching('/precious$')]))
  })
})

describe.concurrent('as the current directory', () => {
  const cases = ['dir.path', "dir.path + '/a'"].flatMap((at) => Object.keys(ways).map((way) => [at, way] as const))
  test.each(cases)('%s, %s', async (at, way) => {
    await expectClean(await run(`${prelude}const dir = filled(); process.chdir(${at})\n${ways[way]}`))
  })

  test.each(['await dir.remove()', 'dir.removeSync()'])('%s', async (act) => {
    expect(await said(`const dir = filled(); process.chdir(dir.path); ${act}; say(fs.existsSync(dir.path))`)).toEqual([false])
  })
})

describe.concurrent('its place among the hooks', () => {
  test.each(['natural end', 'process.exit', 'exit of exodos', 'SIGTERM', 'an error'])(
    '%s: what is in it is closed before',
    async (way) => {
      const source = `
      const dir = tempDir().path
      fs.writeFileSync(dir + '/db', '')
      closeOnExit({ close: async () => { await sleep(5); fs.appendFileSync(dir + '/db', 'last'); say(fs.readFileSync(dir + '/db', 'utf8')) } })
      const job = scope({ name: 'job' })
      const inner = job.use(tempDir())
      job.defer(() => say(fs.existsSync(inner.path)))
      ${ways[way]}`
      expect(await said(source)).toEqual([true, 'last'])
    },
  )

  test('it is in the report by the name of its path', async () => {
    const { report, dir } = await run(`${prelude}tempDir({ prefix: 'mine' })`)
    const hooks = report?.hooks.map(({ name, phase, status }) => ({ name, phase, status }))
    expect(hooks).toEqual([{ name: expect.stringMatching(`^remove ${dir}/tmp/mine-`), phase: 'release', status: 'ok' }])
  })
})

describe.concurrent('with no other face of exodos, or the one for libraries', () => {
  const bare = prelude
    .replace("import { closeOnExit, exit, onExit, scope } from 'exodos'\n", '')
    .replace(/import .*durable'\n/, '')
  const cases: [way: string, ended: Partial<Ended>][] = [
    ['', { code: 0, stderr: '' }],
    ['process.exitCode = 4', { code: 4, stderr: '' }],
    ['process.exit(3)', { code: 3, stderr: '' }],
    ['process.reallyExit(3)', { code: 3, stderr: '' }],
    ["process.kill(process.pid, 'SIGTERM'); hold()", { signal: 'SIGTERM', stderr: '' }],
    ["process.kill(process.pid, 'SIGINT'); hold()", { signal: 'SIGINT', stderr: '' }],
    ["process.on('SIGTERM', () => process.exit(5)); process.kill(process.pid, 'SIGTERM'); hold()", { code: 5, stderr: '' }],
    ["throw new Error('meant')", { code: 1 }],
    ["Promise.reject(new Error('meant'))", { code: 1 }],
    ['process.abort()', { signal: 'SIGABRT' }],
  ]
  const libraries = ['', "import { onExit } from 'exodos/lib'\nonExit(() => {})\n"]
  test.each(cases.flatMap((it) => libraries.map((library) => [...it, library] as const)))(
    '%s',
    async (way, expected, library) => {
      const ended = await run(`${bare}${library}filled(); tempFile()\n${way}`)
      expect(ended).toMatchObject(expected)
      await expectClean(ended)
    },
  )
})

describe.concurrent('what cannot be removed', () => {
  const locked = "fs.mkdirSync('locked'); const dir = filled({ parent: 'locked' }); fs.chmodSync('locked', 0o555)\n"

  test('is reported, and removed by the guardian once that is possible', async () => {
    const ended = await run(`${prelude}onExit(() => {})\n${locked}`)
    const [removal] = ended.report?.hooks ?? []
    expect(removal).toMatchObject({ name: expect.stringContaining('remove '), status: 'failed' })
    expect(ended).toMatchObject({ code: 1, stderr: expect.stringContaining('EACCES') })
    chmodSync(join(ended.dir, 'locked'), 0o755)
    await poll(() => readdirSync(join(ended.dir, 'locked')), { timeout: 15_000 }).toEqual([])
    await expectClean(ended)
  })

  test('remove rejects, removeSync throws; the record stays, and can be run again', async () => {
    const source = `${locked}
      const codes = []
      await dir.remove().catch(({ code }) => codes.push(code))
      try { dir.removeSync() } catch ({ code }) { codes.push(code) }
      const { records } = durable.status()
      fs.chmodSync('locked', 0o755)
      await dir.remove()
      say([codes, records, durable.status().records, fs.readdirSync('locked')])`
    expect(await said(source)).toEqual([[['EACCES', 'EACCES'], 1, 0, []]])
  })
})

test.concurrent('of a worker thread: gone when the thread was terminated, while the process lives', async () => {
  const program = start(`${prelude}
    import { Worker } from 'node:worker_threads'
    const source = \`
      import { tempDir } from 'exodos/temp'
      import { parentPort } from 'node:worker_threads'
      parentPort.postMessage(tempDir().path)
      setInterval(() => {}, 1000)\`
    fs.writeFileSync('worker.mjs', source)
    const mine = tempDir()
    const worker = new Worker(path.resolve('worker.mjs'))
    const [theirs] = await (await import('node:events')).once(worker, 'message')
    await worker.terminate()
    while (fs.existsSync(theirs)) await sleep(10)
    say(fs.existsSync(mine.path))`)
  const ended = await program.ended
  expect(ended).toMatchObject({ code: 0, stdout: 'true\n', stderr: '' })
  await expectClean(ended)
})
