import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { empty } from '../src/guardian/actions/empty.js'
import { erase } from '../src/guardian/actions/erase.js'
import { source as eraseSource } from '../src/guardian/actions/erase.js?source'
import { refusal } from '../src/guardian/actions/refusal.js'
import { runSteps, runStepsSync } from '../src/guardian/actions/steps.js'
import { source as stepsSource } from '../src/guardian/actions/steps.js?source'
import { DONE, type Identity } from '../src/guardian/records/action.js'
import { identityOf, isSame } from '../src/guardian/records/identity.js'
import { source as identitySource } from '../src/guardian/records/identity.js?source'

const isRoot = process.getuid?.() === 0
/** In memory, where there is such a place: thousands of files on a busy disk say nothing about us. */
const place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
let dir: string

beforeEach(({ task }) => {
  dir = mkdtempSync(join(/\d,\d{3}/.test(task.name) ? place : tmpdir(), 'erase-'))
})

afterEach(() => {
  // Not by what is tested here, nor by rmSync, which fails on a deep tree.
  execFileSync('rm', ['-rf', dir])
})

const here = (...names: string[]) => join(dir, ...names)
const file = (path: string, text = '') => {
  writeFileSync(path, text)
  return path
}
const remove = (path: string, tree = true, identity: Identity | undefined = identityOf(path)) =>
  runStepsSync(erase(path, { tree, identity }))

const makeLocked = (path: string) => {
  mkdirSync(join(path, 'a', 'b'), { recursive: true })
  file(join(path, 'a', 'b', 'c'))
  chmodSync(join(path, 'a', 'b'), 0)
  chmodSync(join(path, 'a'), 0o500)
  chmodSync(path, 0)
}
const makeTree = (path: string) => {
  mkdirSync(join(path, 'a', 'empty'), { recursive: true })
  file(join(path, 'a', 'b\nc'))
  symlinkSync(here('kept'), join(path, 'a', 'link'))
}
const makeOddNames = (path: string) => {
  mkdirSync(path)
  const odd = Buffer.from(`${path}/\xff\n\xc3`, 'latin1')
  mkdirSync(odd)
  writeFileSync(Buffer.concat([odd, Buffer.from('/\xfe', 'latin1')]), '')
}
const makeSocket = (path: string) =>
  spawnSync(process.execPath, ['-e', 'net.createServer().listen(process.argv[1], () => process.kill(process.pid, 9))', path])

const kinds: [name: string, tree: boolean, make: (path: string) => unknown][] = [
  ['a file', false, (path) => file(path, 'text')],
  ['a file where a tree is allowed', true, (path) => file(path, 'text')],
  ['a symbolic link to a directory', true, (path) => symlinkSync(here('kept'), path)],
  ['a symbolic link to nothing', false, (path) => symlinkSync('/nowhere', path)],
  ['a fifo', false, (path) => execFileSync('mkfifo', [path])],
  ['a socket', false, makeSocket],
  ['an empty directory', false, (path) => mkdirSync(path)],
  ['a tree', true, makeTree],
  ['names that are not UTF-8', true, makeOddNames],
  ['directories without permissions', true, makeLocked],
  ['nothing', true, () => {}],
]

describe.each(['async', 'sync'])('%s', (driver) => {
  describe.each(['with an identity', 'without'])('%s', (identified) => {
    test.each(kinds)('removes %s', async (_, tree, make) => {
      mkdirSync(here('kept'))
      file(here('kept', 'file'))
      const path = here('x')
      make(path)
      const steps = erase(path, { tree, identity: identified === 'without' ? undefined : identityOf(path) })
      expect(driver === 'sync' ? runStepsSync(steps) : await runSteps(steps)).toEqual(DONE)
      expect(readdirSync(dir)).toEqual(['kept'])
      expect(readdirSync(here('kept'))).toEqual(['file'])
    })
  })
})

test('what lies below something that is no directory has gone', () => {
  expect(remove(join(file(here('f')), 'x'))).toEqual(DONE)
})

test('without `tree` a directory with something in it stays', () => {
  mkdirSync(here('d'))
  file(here('d', 'f'))
  for (const identity of [identityOf(here('d')), undefined]) {
    expect(runStepsSync(erase(here('d'), { tree: false, identity }))).toEqual({
      left: `${here('d')} is a directory that is not empty`,
    })
    expect(existsSync(here('d', 'f'))).toBe(true)
  }
})

describe('somebody else’s', () => {
  const others: [name: string, make: (path: string) => unknown][] = [
    ['file', (path) => file(path, 'theirs')],
    ['symbolic link', (path) => symlinkSync('theirs', path)],
    ['empty directory', (path) => mkdirSync(path)],
    ['tree', (path) => mkdirSync(join(path, 'theirs'), { recursive: true })],
  ]
  test.each(others)('%s at the recorded path stays', (_, make) => {
    const path = file(here('x'), 'ours')
    const ours = identityOf(path) as Identity
    rmSync(path)
    make(path)
    const theirs = identityOf(path)
    expect(remove(path, true, ours)).toEqual({ left: `${path} is not the one that was recorded` })
    expect(identityOf(path)).toEqual(theirs)
    expect(readdirSync(dir)).toEqual(['x'])
  })

  test('an inode that is used again is not taken for the same', () => {
    const path = file(here('x'))
    const ours = identityOf(path) as Identity
    // The same number, as ext4 gives it at once; made sure of for other file systems.
    const theirs = { ...ours, birth: String(BigInt(ours.birth) + 1n) }
    expect(isSame(ours, theirs)).toBe(false)
    for (let i = 0; i < 100; i++) {
      rmSync(path)
      file(path, 'theirs')
      expect(remove(path, false, ours)).toHaveProperty('left')
    }
    expect(readFileSync(path, 'utf8')).toBe('theirs')
  })
})

test('what one that died had moved aside is found by the next', () => {
  const path = here('x')
  mkdirSync(path)
  for (let i = 0; i < 600; i++) file(join(path, `${i}`))
  const identity = identityOf(path)
  // Held where it lets the loop turn, and never continued.
  erase(path, { tree: true, identity }).next()
  expect(readdirSync(dir)).toEqual([expect.stringMatching(/^\.exodos-/)])
  file(path, 'theirs')
  expect(remove(path, true, identity)).toEqual(DONE)
  expect(readdirSync(dir)).toEqual(['x'])
})

test('a file that takes the place of ours at any moment is never lost (2,000 rounds)', async () => {
  const rounds = 2000
  const turn = new Int32Array(new SharedArrayBuffer(8))
  const source = `
    const { workerData: { dir, turn, rounds } } = require('node:worker_threads')
    const { renameSync, writeFileSync } = require('node:fs')
    for (let round = 1; round <= rounds; round++) {
      writeFileSync(dir + '/theirs', String(round))
      while (Atomics.load(turn, 0) < round) {}
      const until = performance.now() + Math.random() * 0.1
      while (performance.now() < until) {}
      renameSync(dir + '/theirs', dir + '/x')
      Atomics.store(turn, 1, round)
      Atomics.notify(turn, 1)
    }`
  const worker = new Worker(source, { eval: true, workerData: { dir, turn, rounds } })
  const path = here('x')
  let lost = 0
  for (let round = 1; round <= rounds; round++) {
    const identity = identityOf(file(path, 'ours'))
    Atomics.store(turn, 0, round)
    remove(path, false, identity)
    Atomics.wait(turn, 1, round - 1, 1000)
    const found = [path, ...readdirSync(dir).map((name) => here(name))].filter(
      (each) => existsSync(each) && readFileSync(each, 'utf8') === String(round),
    )
    if (found.length === 0) lost++
    rmSync(path, { force: true })
  }
  await worker.terminate()
  expect(lost).toBe(0)
})

describe.each([
  ['by descriptor', true],
  ['by path, as where there is no /proc', false],
])('%s', (_, byDescriptor) => {
  test('a link that takes the place of a directory in the tree is never followed (1,000 swaps)', async () => {
    const names = ['1', '2', '3', '4']
    mkdirSync(here('theirs'))
    for (const name of names) file(here('theirs', name), 'theirs')
    mkdirSync(here('x'))
    const source = `
      const { existsSync, renameSync, symlinkSync, unlinkSync, writeSync } = require('node:fs')
      const attempt = (action, ...args) => { try { action(...args); return true } catch { return false } }
      let swaps = 0
      while (!existsSync('../stop')) {
        if (!attempt(renameSync, 'd', 'e')) continue
        if (attempt(symlinkSync, '../theirs', 'd') && ++swaps % 100 === 0) writeSync(1, '.')
        attempt(unlinkSync, 'd')
        attempt(renameSync, 'e', 'd')
      }`
    const swapper = spawn(process.execPath, ['-e', source], { cwd: here('x'), stdio: ['ignore', 'pipe', 'inherit'] })
    const exit = once(swapper, 'exit')
    let swaps = 0
    swapper.stdout.on('data', (data) => {
      swaps += 100 * data.length
    })
    const until = performance.now() + 10_000
    for (let rounds = 0; (swaps < 1000 || rounds < 5000) && performance.now() < until; rounds++) {
      try {
        mkdirSync(here('x', 'd'))
        for (const name of names) writeFileSync(here('x', 'd', name), 'ours', { flag: 'wx' })
      } catch {
        // It is a link for the moment, or nowhere.
      }
      try {
        runStepsSync(empty(here('x'), undefined, byDescriptor))
      } catch {
        // Somebody keeps writing.
      }
      if (rounds % 50 === 0) await setImmediate()
    }
    file(here('stop'))
    await exit
    expect(names.map((name) => existsSync(here('theirs', name)) && readFileSync(here('theirs', name), 'utf8'))).toEqual(
      names.map(() => 'theirs'),
    )
    expect(swaps).toBeGreaterThanOrEqual(1000)
  })

  test('a tree of 3,000 levels', () => {
    mkdirSync(here('x'))
    const source = 'for (let i = 0; i < 3000; i++) { fs.mkdirSync("d"); process.chdir("d") }'
    execFileSync(process.execPath, ['-e', source], { cwd: here('x') })
    expect(runStepsSync(empty(here('x'), identityOf(here('x')), byDescriptor))).toEqual([])
    expect(readdirSync(here('x'))).toEqual([])
  })
})

test('10,000 files let the loop turn', async () => {
  mkdirSync(here('x'))
  for (let i = 0; i < 10_000; i++) closeSync(openSync(here('x', `${i}`), 'w'))
  let turns = 0
  const timer = setInterval(() => turns++, 0)
  const began = performance.now()
  expect(await runSteps(erase(here('x'), { tree: true, identity: identityOf(here('x')) }))).toEqual(DONE)
  clearInterval(timer)
  expect(turns).toBeGreaterThan(20)
  expect(performance.now() - began).toBeLessThan(10_000)
})

describe('refuses', () => {
  const home = homedir()
  const cwd = process.cwd()
  const rows: [path: string, reason: string | undefined][] = [
    ['/', 'is the root of the file system'],
    ['///', 'is the root of the file system'],
    [home, 'is the home directory'],
    [`${home}/`, 'is the home directory'],
    [relative('/', cwd), 'is not an absolute path'],
    ['', 'is not an absolute path'],
    ['/tmp/a/../b', "holds '..'"],
    ['/tmp/a\0b', 'holds a NUL character'],
    ['/proc', 'is a mount point'],
    ['/tmp/not-there/x', undefined],
    ['/tmp/...', undefined],
  ]
  test.each(rows)('%j', (path, reason) => {
    expect(refusal(path)).toBe(reason)
    if (reason) expect(runStepsSync(erase(path, { tree: true }))).toEqual({ left: `${path} ${reason}` })
  })

  test('the current directory and what is above it, for now', () => {
    const directory = here('current')
    mkdirSync(join(directory, 'below'), { recursive: true })
    try {
      for (const [path, words] of [
        [directory, 'is the current directory'],
        [dirname(directory), 'is above the current directory'],
      ] as const) {
        process.chdir(directory)
        expect(() => runStepsSync(erase(path, { tree: true }))).toThrow(`${path} ${words}`)
      }
      process.chdir(cwd)
      expect(runStepsSync(erase(directory, { tree: true }))).toEqual({ done: true })
    } finally {
      process.chdir(cwd)
    }
  })

  test('one that we have made is removed even so', () => {
    try {
      mkdirSync(here('ours'))
      process.chdir(here('ours'))
      expect(runStepsSync(erase(here('ours'), { tree: true, unique: true }))).toEqual({ done: true })
    } finally {
      process.chdir(cwd)
    }
  })

  test('what has an identity may be in a directory that everybody may write to, but not below one', () => {
    mkdirSync(here('open', 'ours', 'x'), { recursive: true })
    chmodSync(here('open'), 0o777)
    const at = (...names: string[]) => ({
      path: here('open', ...names),
      identity: identityOf(here('open', ...names)) as Identity,
    })
    const below = at('ours', 'x')
    expect(runStepsSync(erase(below.path, { tree: true, ...below }))).toMatchObject({ left: expect.stringContaining('sticky') })
    const inside = at('ours')
    expect(runStepsSync(erase(inside.path, { tree: true }))).toMatchObject({ left: expect.stringContaining('sticky') })
    expect(runStepsSync(erase(inside.path, { tree: true, ...inside }))).toEqual({ done: true })
  })

  test('the home directory, reached through a link', () => {
    symlinkSync(dirname(home), here('link'))
    expect(refusal(join(here('link'), home.slice(home.lastIndexOf('/') + 1)))).toBe('is the home directory')
  })

  test('what is in a directory that everybody may write to, or below it', () => {
    mkdirSync(here('open', 'ours'), { recursive: true })
    chmodSync(here('open'), 0o777)
    symlinkSync(here('open', 'ours'), here('link'))
    const reason = `is in ${here('open')} or below it, which everybody may write to, and has no sticky bit`
    for (const path of [here('open', 'x'), here('open', 'ours', 'x'), here('link', 'x')]) expect(refusal(path)).toBe(reason)
    // The link itself lies elsewhere.
    expect(refusal(here('link'))).toBeUndefined()
    chmodSync(here('open'), 0o1777)
    expect(refusal(here('open', 'ours', 'x'))).toBeUndefined()
  })

  test.skipIf(!isRoot)('what is reached through something that somebody else can exchange', () => {
    mkdirSync(here('sticky', 'theirs'), { recursive: true })
    symlinkSync('/etc', here('sticky', 'link'))
    chmodSync(here('sticky'), 0o1777)
    for (const name of ['theirs', 'link']) {
      lchownSync(here('sticky', name), 65534, 65534)
      const reason = `is reached through ${here('sticky', name)}, which belongs to somebody else, in a directory that all may write to`
      expect(refusal(here('sticky', name, 'x'))).toBe(reason)
    }
    chmodSync(here('sticky'), 0o755)
    expect(refusal(here('sticky', 'theirs', 'x'))).toBeUndefined()
  })

  test('links in a circle', () => {
    symlinkSync('b', here('a'))
    symlinkSync('a', here('b'))
    expect(refusal(here('a', 'x'))).toBe('is reached through too many symbolic links')
  })
})

/** Runs lines of a program that has `erase`, `identityOf` and `remove`; returns what it prints as JSON. */
function inProgram(lines: string, command: string[] = [], user: { uid?: number; gid?: number } = {}): unknown {
  for (const [name, source] of Object.entries({ erase: eraseSource, identity: identitySource, steps: stepsSource })) {
    file(here(`${name}.cjs`), source)
  }
  chmodSync(dir, 0o755)
  const program = `
    const fs = require('node:fs'), { execFileSync } = require('node:child_process')
    const { erase } = require('./erase.cjs'), { identityOf } = require('./identity.cjs'), { runStepsSync } = require('./steps.cjs')
    const remove = (path) => {
      try { return runStepsSync(erase(path, { tree: true, identity: identityOf(path) })) } catch (error) { return { code: error.code } }
    }
    const print = (value) => console.log(JSON.stringify(value))
    ${lines}`
  file(here('program.cjs'), program)
  const [file_ = process.execPath, ...args] = [...command, process.execPath, 'program.cjs']
  const { stdout, stderr } = spawnSync(file_, args, { cwd: dir, encoding: 'utf8', env: { PATH: process.env.PATH }, ...user })
  if (stdout === '') throw new Error(stderr)
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}

describe('errors of the system', () => {
  test('are thrown as they are; what has no permissions in a tree of ours is removed', () => {
    mkdirSync(here('work'))
    if (isRoot) chownSync(here('work'), 65534, 65534)
    const lines = `
      const { chmodSync, mkdirSync, readdirSync, writeFileSync } = fs
      process.chdir('work')
      const path = process.cwd() + '/p'
      mkdirSync(path)
      writeFileSync(path + '/f', '')
      mkdirSync(path + '/locked')
      mkdirSync(path + '/locked/in')
      writeFileSync(path + '/locked/in/f', '')
      chmodSync(path + '/locked/in', 0)
      chmodSync(path + '/locked', 0)
      chmodSync(path, 0o555)
      print(remove(path + '/f'))
      print(readdirSync(path))
      print(remove(path))
      print(readdirSync('.'))`
    expect(inProgram(lines, [], isRoot ? { uid: 65534, gid: 65534 } : {})).toEqual([
      { code: 'EACCES' },
      ['f', 'locked'],
      DONE,
      [],
    ])
  })

  test('one file that can’t be removed: all others are, and the tree has its name again', (context) => {
    mkdirSync(here('x', 'a'), { recursive: true })
    for (const name of ['b', 'c', 'd']) file(here('x', 'a', name))
    context.skip(spawnSync('chattr', ['+i', here('x', 'a', 'c')]).status !== 0, 'files can’t be made immutable here')
    try {
      const identity = identityOf(here('x'))
      for (let attempt = 0; attempt < 2; attempt++) {
        expect(() => remove(here('x'))).toThrow(/EPERM/)
        expect(identityOf(here('x'))).toEqual(identity)
        expect(readdirSync(here('x', 'a'))).toEqual(['c'])
      }
    } finally {
      execFileSync('chattr', ['-i', here('x', 'a', 'c')])
    }
    expect(remove(here('x'))).toEqual(DONE)
  })
})

describe('mounts', () => {
  const own = ['unshare', '-rm', '--']
  const canMount = spawnSync('unshare', ['-rm', 'sh', '-c', 'mount -t tmpfs none /mnt']).status === 0

  test.skipIf(!canMount)('are left and reported, those of the same file system as well; the rest of the tree is removed', () => {
    mkdirSync(here('kept'))
    file(here('kept', 'f'), 'kept')
    for (const name of ['other', 'same', 'rest']) mkdirSync(here('x', 'a', name), { recursive: true })
    file(here('x', 'a', 'rest', 'f'))
    file(here('x', 'file'))
    const lines = `
      const { readdirSync, readFileSync } = fs
            const x = process.cwd() + '/x'
      execFileSync('mount', ['-t', 'tmpfs', 'none', x + '/a/other'])
      execFileSync('mount', ['--bind', 'kept', x + '/a/same'])
      execFileSync('mount', ['--bind', 'kept/f', x + '/file'])
      fs.writeFileSync(x + '/a/other/f', '')
      const { left } = remove(x)
      print(left.split('; ').sort())
      print([readdirSync(x), readdirSync(x + '/a'), readdirSync(x + '/a/other'), readFileSync('kept/f', 'utf8')])
      print([remove(x + '/a/other'), remove(x + '/a/same'), runStepsSync(erase(x + '/a/same', { tree: true }))])`
    const mount = (name: string) => `${here('x', name)} is a mount point`
    expect(inProgram(lines, own)).toEqual([
      [mount('a/other'), mount('a/same'), mount('file')],
      [['a', 'file'], ['other', 'same'], ['f'], 'kept'],
      [{ left: mount('a/other') }, { left: mount('a/same') }, { left: mount('a/same') }],
    ])
  })

  const overlay = 'mount -t overlay -o lowerdir=l,upperdir=u,workdir=w none m'
  const canOverlay =
    isRoot &&
    spawnSync('unshare', [
      '-m',
      'sh',
      '-c',
      `cd $(mktemp -d) && mkdir l u w m && ${overlay}; s=$?; umount m; rm -rf $PWD; exit $s`,
    ]).status === 0

  test.skipIf(!canOverlay)('a directory of a container’s image, which can’t be renamed, is removed', () => {
    for (const name of ['l/d/a', 'u', 'w', 'm']) mkdirSync(here(name), { recursive: true })
    file(here('l', 'd', 'a', 'f'))
    file(here('l', 'f'))
    const lines = `
      execFileSync('sh', ['-c', ${JSON.stringify(overlay)}])
      const [d, f] = ['d', 'f'].map((name) => process.cwd() + '/m/' + name)
      try { fs.renameSync(d, d + 'd') } catch (error) { print(error.code) }
      print(runStepsSync(erase(d, { tree: true, identity: identityOf(f) })).left)
      print([remove(d), fs.readdirSync('m')])`
    expect(inProgram(lines, ['unshare', '-m', '--'])).toEqual([
      'EXDEV',
      `${here('m', 'd')} is not the one that was recorded`,
      [DONE, ['f']],
    ])
    expect(existsSync(here('l', 'd', 'a', 'f'))).toBe(true)
  })
})
