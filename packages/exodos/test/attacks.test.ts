import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { identityOf } from '../src/guardian/records/identity.js'
import { ownerName, thisOwner } from '../src/guardian/records/owner.js'
import { recover } from '../src/guardian/recovery/claim.js'
import { nothing } from '../src/guardian/recovery/settle.js'
import { seen } from '../src/system/proc.js'
import { node, type ProgramOptions, run, start } from './support/program.js'
import { source as instanceSource } from './support/recovery-instance.js?source'
import { childrenOf } from './support/supervise.js'

const SECONDS = Number(process.env.EXODOS_TORTURE_SECONDS ?? 2)
const isRoot = process.getuid?.() === 0
const canMount = isRoot && spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt']).status === 0
/** Another user. */
const NOBODY = 65_534

let dir: string
let state: string
/** What is recorded. */
let victim: string
/** Recorded by another one, who has died as well: nothing that is odd may keep it. */
let other: string

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'attacks-'))
  chmodSync(dir, 0o755)
  state = join(dir, 'state')
  mkdirSync(state, { mode: 0o700 })
  victim = file('victim')
  other = file('other')
})
afterEach(() => rmSync(dir, { recursive: true, force: true }))

function file(name: string, text = ''): string {
  writeFileSync(join(dir, name), text)
  return join(dir, name)
}

const ownerOf = (pid: number, more = {}) => ownerName({ ...thisOwner(), pid, start: '5', thread: '', ...more })
/** Above what any kernel gives. */
const DEAD = ownerOf(9_999_998)
const OTHER = ownerOf(9_999_999)
const line = (id: number, action: unknown) => `${JSON.stringify({ id, at: id, do: action })}\n`
const removal = (path: string, more = {}) => ({ kind: 'path', path, tree: false, ...more })

/** A journal; its path. */
function journalOf(owner: string, text: string | Buffer): string {
  const path = join(state, 'owners', owner, 'a.journal')
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

/** Something has been put there because it failed, or was left alone. */
const isKept = () => existsSync(join(state, 'failed')) && readdirSync(join(state, 'failed')).length > 0

async function untilGone(...paths: string[]): Promise<void> {
  for (const end = performance.now() + 10_000; paths.some((path) => existsSync(path)) && performance.now() < end; )
    await sleep(10)
  expect(paths.filter((path) => existsSync(path))).toEqual([])
}

describe('not believed', () => {
  const elsewhere = () => join(dir, 'elsewhere')
  const moveTo = (path: string) => {
    renameSync(path, elsewhere())
    symlinkSync(elsewhere(), path)
  }
  const moveAndGive = (path: string) => {
    moveTo(path)
    lchownSync(path, NOBODY, NOBODY)
  }
  const replaced = (make: (path: string) => void) => (path: string) => {
    rmSync(path)
    make(path)
  }
  const cases: [name: string, needsRoot: boolean, plant: (journal: string) => void][] = [
    ['a journal of another user', true, (path) => chownSync(path, NOBODY, NOBODY)],
    ['a directory of another user', true, (path) => chownSync(dirname(path), NOBODY, NOBODY)],
    ['a link of another user', true, moveAndGive],
    ['a journal that others can write to', false, (path) => chmodSync(path, 0o666)],
    ['a journal that the group can write to', false, (path) => chmodSync(path, 0o660)],
    ['a directory that others can write to', false, (path) => chmodSync(dirname(path), 0o777)],
    ['a symbolic link to a journal', false, moveTo],
    ['a symbolic link to a directory', false, (path) => moveTo(dirname(path))],
    ['a symbolic link to itself', false, replaced((path) => symlinkSync(path, path))],
    ['a symbolic link to nothing', false, replaced((path) => symlinkSync('/nowhere', path))],
    ['a directory in place of a journal', false, replaced((path) => mkdirSync(path))],
    ['a FIFO', false, replaced((path) => execFileSync('mkfifo', [path]))],
    ['a device', true, replaced((path) => execFileSync('mknod', [path, 'c', '1', '5']))],
    [
      'a file in place of a directory',
      false,
      (path) => {
        rmSync(dirname(path), { recursive: true })
        writeFileSync(dirname(path), '')
      },
    ],
  ]
  for (const [name, needsRoot, plant] of cases)
    test.skipIf(needsRoot && !isRoot)(name, async () => {
      const text = line(1, removal(victim))
      plant(journalOf(DEAD, text))
      journalOf(OTHER, line(1, removal(other)))
      expect(await recover(state)).toEqual({ ...nothing(), done: [removal(other)] })
      expect([existsSync(victim), existsSync(other)]).toEqual([true, false])
      if (existsSync(elsewhere()) && !existsSync(join(elsewhere(), 'a.journal')))
        expect(readFileSync(elsewhere(), 'utf8')).toBe(text)
    })

  test('a symbolic link to a directory that has nothing to do with it', async () => {
    const precious = join(dir, 'precious')
    mkdirSync(precious)
    writeFileSync(join(precious, 'file'), '')
    mkdirSync(join(state, 'owners'))
    symlinkSync(precious, join(state, 'owners', DEAD))
    expect(await recover(state)).toEqual(nothing())
    expect(readdirSync(precious)).toEqual(['file'])
  })

  test('a file in place of a directory of another container', async () => {
    mkdirSync(join(state, 'owners'))
    writeFileSync(join(state, 'owners', ownerOf(9_999_998, { namespace: '4026539999' })), '')
    journalOf(OTHER, line(1, removal(other)))
    expect(await recover(state)).toEqual({ ...nothing(), done: [removal(other)] })
  })

  test('a program is not disturbed by any of it', async () => {
    for (const [i, [, , plant]] of cases.filter(([, needsRoot]) => !needsRoot || isRoot).entries()) {
      rmSync(elsewhere(), { recursive: true, force: true })
      plant(journalOf(ownerOf(9_000_000 + i), line(1, removal(victim))))
    }
    journalOf(OTHER, line(1, removal(other)))
    const { code, stderr } = await run(
      `import { durable } from 'exodos/durable'
       import { existsSync } from 'node:fs'
       const record = durable.path(${JSON.stringify(join(dir, 'own'))})
       while (existsSync(${JSON.stringify(other)})) await new Promise((resolve) => setTimeout(resolve, 10))
       record.cancel()`,
      { env: { EXODOS_STATE_DIR: state } },
    )
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect([existsSync(victim), existsSync(other)]).toEqual([true, false])
  })

  test('a journal that can’t be read now is kept', async () => {
    const journal = journalOf(DEAD, line(1, removal(victim)))
    chmodSync(journal, 0)
    // Root reads everything.
    if (isRoot) execFileSync('chown', ['-R', `${NOBODY}`, dir])
    const recoverAsUser = async () => {
      const asUser = (path: string) => {
        chmodSync(dirname(path), 0o755)
        return ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups', node, path]
      }
      const { stdout } = await run(
        `import { durable } from 'exodos/durable'
         console.log((await durable.recover()).done.length)
         process.exit()`,
        { env: { EXODOS_STATE_DIR: state }, ...(isRoot && { command: asUser }) },
      )
      return stdout
    }
    expect(await recoverAsUser()).toBe('0\n')
    for (const name of readdirSync(state, { recursive: true }) as string[])
      if (name.endsWith('.journal')) chmodSync(join(state, name), 0o600)
    expect(await recoverAsUser()).toBe('1\n')
    expect(existsSync(victim)).toBe(false)
  })
})

describe('lines', () => {
  const command = { kind: 'command', argv: ['true'], cwd: '/', env: {}, timeout: 100 }
  const ended = { kind: 'process', pid: process.pid, start: '1', group: false, signal: 'SIGKILL', timeout: 1 }
  test.each<[string, () => string | Buffer]>([
    ['nothing', () => ''],
    ['only ends', () => '\n\n\n'],
    ['binary', () => Buffer.concat([Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 7) % 256)), Buffer.from('\n')])],
    ['NUL', () => `${'\0'.repeat(1000)}\n`],
    ['JSON of another kind', () => '[]\n1\nnull\n"text"\n{}\n{"do":1}\n{"id":1}\n{"__proto__":{"id":1}}\n'],
    ['half a line', () => line(1, removal(victim)).slice(0, -9)],
    ['half a line, then an end', () => `${line(1, removal(victim)).slice(0, -9)}\n`],
    ['2 MB in a line', () => line(1, removal(victim, { more: 'x'.repeat(2 << 20) }))],
    ['2 MB of brackets', () => `{"id":1,"at":1,"do":${'['.repeat(2 << 20)}\n`],
    ['500 kB of brackets', () => `{"id":1,"at":1,"do":{"kind":"path","path":${'['.repeat(5e5)}${']'.repeat(5e5)}}}\n`],
    ['cancelled', () => `#${line(1, removal(victim)).slice(1)}`],
    ['done', () => `${line(1, removal(victim))}{"off":1}\n`],
    ['a path that is a number', () => line(1, removal(victim, { path: 1 }))],
    ['a path that is a list', () => line(1, removal(victim, { path: [victim] }))],
    ['tree as text', () => line(1, removal(victim, { tree: 'false' }))],
    ['no time', () => `{"id":1,"do":${JSON.stringify(removal(victim))}}\n`],
    ['an id that is text', () => line('1' as never, removal(victim))],
    ['no action', () => line(1, null)],
    ['an action without a kind', () => line(1, { path: victim, tree: false })],
    ['a kind that is a list', () => line(1, removal(victim, { kind: ['path'] }))],
    ['a pid that is text', () => line(1, { ...ended, pid: String(process.pid) })],
    ['a program that is text', () => line(1, { ...command, argv: `rm ${victim}` })],
    ['a program that is null', () => line(1, { ...command, argv: null })],
    ['a time that is text', () => line(1, { ...command, argv: ['rm', victim], timeout: '1000' })],
  ])('%s: ignored, the next one is done', async (_, text) => {
    const data = text()
    const whole = data.length === 0 || data.at(-1) === '\n' || data.at(-1) === 10
    journalOf(DEAD, data)
    // Half a line is followed by nothing: whoever wrote it had died.
    if (whole) appendFileSync(join(state, 'owners', DEAD, 'a.journal'), line(2, removal(other)))
    else journalOf(OTHER, line(2, removal(other)))
    expect(await recover(state)).toEqual({ ...nothing(), done: [removal(other)] })
    expect([existsSync(victim), existsSync(other)]).toEqual([true, false])
    expect(readdirSync(join(state, 'owners'))).toEqual([])
  })

  test('what is never done is left, and told', async () => {
    const unique = { unique: true }
    const full = join(dir, 'full')
    mkdirSync(join(full, 'x'), { recursive: true })
    const refused: [action: object, reason: string][] = [
      [removal('/'), '/ is the root of the file system'],
      [removal('', unique), ' is not an absolute path'],
      [removal('nothing', unique), 'nothing is not an absolute path'],
      [removal('/proc', { tree: true }), '/proc is a mount point'],
      [removal(`${dir}/../${basename(dir)}/victim`), `${dir}/../${basename(dir)}/victim holds '..'`],
      [removal(full), `${full} is a directory that is not empty`],
      [ended, `process ${process.pid} is the one that was to end it`],
      [{ ...ended, pid: 1, start: '0' }, 'process 1 is never ended'],
      [{ ...ended, pid: -1 }, 'process -1 is never ended'],
      [{ ...ended, pid: 1.5 }, 'process 1.5 is never ended'],
      [{ ...ended, pid: process.ppid }, `process ${process.ppid} is one that has started us`],
      [
        { ...ended, start: '' },
        `process ${process.pid} was recorded without its start time, so it is not known from a later one`,
      ],
    ]
    journalOf(DEAD, refused.map(([action], i) => line(i, action)).join(''))
    const { left, done, failed } = await recover(state)
    expect({ done, failed }).toEqual({ done: [], failed: [] })
    expect(left.map(({ reason }) => reason).reverse()).toEqual(refused.map(([, reason]) => reason))
    expect(await recover(state)).toEqual(nothing())
  })

  test('what only a newer version can do is kept for that', async () => {
    const actions = [{ kind: 'teleport', path: victim }, { kind: '__proto__' }]
    journalOf(DEAD, actions.map((action, i) => line(i, action)).join(''))
    for (let time = 0; time < 2; time++) {
      const { left, done, failed } = await recover(state)
      expect({ done, left }).toEqual({ done: [], left: [] })
      expect(failed.map(({ error }) => error).sort()).toEqual([
        'a newer exodos is needed for __proto__',
        'a newer exodos is needed for teleport',
      ])
    }
  })

  test('what the state directory is in is not removed, and not moved', async () => {
    const above = join(dir, 'above')
    mkdirSync(above)
    renameSync(state, join(above, 'state'))
    state = join(above, 'state')
    journalOf(DEAD, line(1, removal(above)))
    expect((await recover(state)).done).toEqual([])
    expect(existsSync(state)).toBe(true)
    expect(readdirSync(dir).sort()).toEqual(['above', 'other', 'victim'])
  })

  test('fields of the wrong type are told as failed', async () => {
    const actions = [
      { ...command, argv: {} },
      { ...command, argv: [] },
      { ...command, argv: [1] },
      { ...command, argv: ['a\0b'] },
      { ...command, argv: ['/nowhere'] },
      { ...command, cwd: '/nowhere' },
      { kind: 'call', module: 'file:///nowhere', export: 'x', args: {}, cwd: '/', env: {}, timeout: 5000 },
    ]
    journalOf(DEAD, actions.map((action, i) => line(i, action)).join(''))
    const { failed, ...rest } = await recover(state)
    expect(rest).toEqual({ done: [], left: [] })
    expect(failed.map(({ action }) => action)).toEqual(actions.reverse())
    expect(failed.every(({ error }) => error.length > 5)).toBe(true)
  })

  test('a journal of 50 MB', async () => {
    const garbage = Buffer.from(`${'x'.repeat(999)}\n`.repeat(50_000))
    const journal = journalOf(DEAD, garbage)
    appendFileSync(journal, line(1, removal(victim)))
    const began = performance.now()
    expect(await recover(state)).toMatchObject({ done: [removal(victim)] })
    console.log(`50 MB of garbage: ${Math.round(performance.now() - began)} ms`)
  })
})

describe('somebody else’s', () => {
  test.each([true, false])('a file that was made at a recorded path later is left alone (made() called: %s)', async (isMade) => {
    const place = JSON.stringify(victim)
    const program = start(
      `import { durable } from 'exodos/durable'
       import { rmSync, writeFileSync, writeSync } from 'node:fs'
       ${isMade ? `rmSync(${place})` : ''}
       const record = durable.path(${place})
       ${isMade ? `writeFileSync(${place}, 'own')\nrecord.made()` : ''}
       rmSync(${place})
       writeFileSync(${place}, 'not own')
       writeSync(1, 'ready')
       setInterval(() => {}, 1e9)`,
      { env: { EXODOS_STATE_DIR: state } },
    )
    await program.until('ready')
    program.kill('SIGKILL')
    await program.ended
    for (const end = performance.now() + 10_000; !isKept() && performance.now() < end; ) await sleep(10)
    const { left } = await recover(state)
    expect(left.map(({ reason }) => reason)).toEqual([`${victim} is not the one that was recorded`])
    expect(readFileSync(victim, 'utf8')).toBe('not own')
    expect(readdirSync(dir).filter((name) => name.startsWith('.'))).toEqual([])
  })

  const child = () => spawn('sleep', ['1000'], { detached: true, stdio: 'ignore' })
  test.each([
    ['with another start time', (start: string) => ({ start: String(Number(start) + 1) }), {}],
    ['its group, with another start time', (start: string) => ({ start: String(Number(start) - 1), group: true }), {}],
    ['with no start time', () => ({ start: '' }), {}],
    ['of another boot', () => ({}), { boot: '0123456789abcdef' }],
    ['of another container', () => ({}), { namespace: '4026539999', boot: '0123456789abcdef' }],
  ])('a process is not ended: %s', async (_, more, owner) => {
    const { pid = 0, ...it } = child()
    try {
      const start = seen(pid)?.startTime as string
      const action = { kind: 'process', pid, start, group: false, signal: 'SIGKILL', timeout: 100, ...more(start) }
      journalOf(ownerOf(9_999_998, owner), line(1, action) + line(2, removal(other, { identity: identityOf(other) })))
      await recover(state)
      expect(seen(pid)).toMatchObject({ startTime: start })
      expect(existsSync(other)).toBe(false)
    } finally {
      process.kill(pid, 'SIGKILL')
      expect(it).toBeDefined()
    }
  })

  test('the same process, recorded right, is ended', async () => {
    const it = child()
    const action = {
      kind: 'process',
      pid: it.pid,
      start: seen(it.pid as number)?.startTime,
      group: true,
      signal: 'SIGTERM',
      timeout: 5000,
    }
    journalOf(DEAD, line(1, action))
    const [[, signal]] = await Promise.all([once(it, 'exit'), recover(state)])
    expect(signal).toBe('SIGTERM')
  })

  test('a link that is put in the place of a directory while its tree is removed', async () => {
    const foreign = join(dir, 'foreign')
    const tree = join(dir, 'tree')
    mkdirSync(foreign)
    for (let i = 0; i < 50; i++) writeFileSync(join(foreign, `${i}`), '')
    // What is under our own hands meanwhile isn't what is tested.
    const grow = (path: string) => {
      try {
        mkdirSync(join(path, 'deep'), { recursive: true })
        for (let n = 0; n < 5; n++) writeFileSync(join(path, 'deep', `${n}`), '')
      } catch {}
    }
    const swap = spawn(
      node,
      [
        '-e',
        `const fs = require('node:fs')
         const [foreign, tree] = process.argv.slice(1)
         const quietly = (act) => { try { act() } catch {} }
         fs.writeSync(1, 'ready')
         for (let i = 0; ; i = (i + 1) % 10) quietly(() => {
           fs.renameSync(tree + '/' + i, tree + '/aside')
           quietly(() => fs.symlinkSync(foreign, tree + '/' + i))
           quietly(() => fs.renameSync(tree + '/aside', tree + '/' + i + 'x'))
         })`,
        foreign,
        tree,
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    try {
      await once(swap.stdout, 'data')
      for (let round = 0; round < 50; round++) {
        for (let i = 0; i < 10; i++) grow(join(tree, `${i}`))
        journalOf(DEAD, line(1, removal(tree, { tree: true, identity: identityOf(tree) })))
        await recover(state)
      }
    } finally {
      swap.kill('SIGKILL')
      await once(swap, 'exit')
    }
    expect(readdirSync(foreign).filter((name) => name !== 'deep')).toHaveLength(50)
  })

  test.each([
    ['', 0],
    [', by others that are killed at that', 0.5],
  ])(
    `a path that the next instance has recorded, too, is not removed%s: ${SECONDS} s`,
    {
      timeout: SECONDS * 1000 + 60_000,
    },
    async (_, risk) => {
      for (const name of ['state/owners', 'files']) mkdirSync(join(dir, name), { mode: 0o700 })
      writeFileSync(join(dir, 'instance.cjs'), instanceSource)
      const begin = (role: string) => {
        const args = [join(dir, 'instance.cjs'), role, dir, String(SECONDS * 1000), String(risk)]
        return spawn(node, args, { stdio: ['ignore', 'pipe', 'inherit'] })
      }
      let killed = 0
      let isOver = false
      const recoverers = [0, 1].map(async () => {
        for (;;) {
          const recoverer = begin('recoverer')
          const stop = setInterval(() => isOver && recoverer.kill('SIGKILL'), 10)
          await once(recoverer, 'exit')
          clearInterval(stop)
          if (isOver) return
          killed++
        }
      })
      const instances = begin('instances')
      let text = ''
      instances.stdout.on('data', (data) => {
        text += data
      })
      await once(instances, 'close')
      const rest = () => readdirSync(join(state, 'owners'))
      for (const end = performance.now() + 20_000; rest().length > 0 && performance.now() < end; ) await sleep(10)
      isOver = true
      await Promise.all(recoverers)
      console.log(text, { killed })
      const { fine = 0, 'out of place for a moment': moved = 0, ...wrong } = JSON.parse(text)
      expect(wrong).toEqual({})
      expect(fine).toBeGreaterThan(moved)
      expect(rest()).toEqual([])
      expect(readdirSync(join(dir, 'files')).filter((name) => name !== 'app.pid')).toEqual([])
    },
  )
})

test('a pid file, its program and the guardian killed together and started anew at once: it is that of the one that lives', {
  timeout: 60_000,
}, async () => {
  const pidFile = join(dir, 'app.pid')
  const begin = async (isInPlace: boolean) => {
    const program = start(
      `import { durable } from 'exodos/durable'
       import { rmSync, writeFileSync, writeSync } from 'node:fs'
       const path = ${JSON.stringify(pidFile)}
       const record = durable.path(path)
       ${isInPlace ? '' : 'rmSync(path, { force: true })'}
       writeFileSync(path, String(process.pid))
       record.made()
       writeSync(1, 'ready')
       setInterval(() => {}, 1e9)`,
      { env: { EXODOS_STATE_DIR: state }, timeout: 60_000 },
    )
    await program.until('ready')
    return program
  }
  const owners = () => readdirSync(join(state, 'owners'))
  let last = await begin(true)
  for (let round = 0; round < 10; round++) {
    const guardians = childrenOf(last.child.pid as number)
    for (const guardian of guardians) process.kill(guardian, 'SIGSTOP')
    last.kill('SIGKILL')
    await last.ended
    for (const guardian of guardians) process.kill(guardian, 'SIGKILL')
    last = await begin(round % 2 === 0)
    for (const end = performance.now() + 10_000; owners().length > 1 && performance.now() < end; ) {
      expect(readFileSync(pidFile, 'utf8')).toBe(`${last.child.pid}`)
      await sleep(5)
    }
    expect(owners()).toHaveLength(1)
    expect(readFileSync(pidFile, 'utf8')).toBe(`${last.child.pid}`)
  }
  last.kill('SIGKILL')
  await last.ended
  await untilGone(pidFile)
  expect(readdirSync(dir).sort()).toEqual(['other', 'state', 'victim'])
})

describe('a state directory that can’t be used: told, and the records are kept by the guardian', () => {
  const changed = <A extends unknown[]>(change: (path: string, ...args: A) => void, ...args: A) => {
    change(state, ...args)
    return state
  }
  const link = () => {
    symlinkSync(state, join(dir, 'link'))
    return join(dir, 'link')
  }
  const places: [
    name: string,
    isPossible: boolean,
    reason: string,
    prepare: () => string,
    command?: ProgramOptions['command'],
  ][] = [
    ['others can write to it', true, 'can be written to by others', () => changed(chmodSync, 0o777)],
    ['a symbolic link', true, 'is a symbolic link', link],
    ['of another user', isRoot, 'belongs to somebody else', () => changed(chownSync, NOBODY, NOBODY)],
    ['a file', true, 'is not a directory', () => victim],
    ['in a file', true, 'ENOTDIR', () => join(victim, 'state')],
    ['relative', true, 'is not an absolute path', () => 'state'],
    [
      'its owners are of another user',
      isRoot,
      'owners belongs to somebody else',
      () => {
        mkdirSync(join(state, 'owners'))
        chownSync(join(state, 'owners'), NOBODY, NOBODY)
        return state
      },
    ],
    [
      'read-only',
      canMount,
      'EROFS',
      () => state,
      (path) => [
        'unshare',
        '-m',
        'sh',
        '-c',
        'mount -t tmpfs -o ro,mode=700 none "$1" && exec "$2" "$3"',
        'sh',
        state,
        node,
        path,
      ],
    ],
  ]
  for (const [name, isPossible, reason, prepare, command] of places)
    test.skipIf(!isPossible)(name, async () => {
      const program = start(
        `import { durable } from 'exodos/durable'
       import { tempDir } from 'exodos/temp'
       import { writeSync } from 'node:fs'
       durable.path(${JSON.stringify(victim)})
       const { path } = tempDir({ parent: ${JSON.stringify(dir)} })
       writeSync(1, JSON.stringify({ ...durable.status(), path }) + '\\n')
       setInterval(() => {}, 1e9)`,
        { env: { EXODOS_STATE_DIR: prepare() }, ...(command && { command }) },
      )
      await program.until('\n')
      const { path, ...status } = JSON.parse(program.printed())
      expect(status).toEqual({ guarded: true, records: 2, failed: 0, reason: expect.stringContaining(reason) })
      program.kill('SIGKILL')
      await program.ended
      await untilGone(path, victim)
    })

  test('durable.configure says so at once', async () => {
    chmodSync(state, 0o777)
    const { stdout } = await run(
      `import { durable } from 'exodos/durable'
       try { durable.configure({ stateDir: ${JSON.stringify(state)} }) } catch ({ code, message }) { console.log(code, message) }`,
    )
    expect(stdout).toBe(
      `ERR_EXODOS_INVALID_ARG options.stateDir: expected a directory of our own: ${state}: can be written to by others\n`,
    )
  })
})

test('each path that is refused is told at the call, and nothing is recorded', async () => {
  const open = join(dir, 'open')
  mkdirSync(open)
  chmodSync(open, 0o777)
  const { lines } = await run(
    `import { durable } from 'exodos/durable'
     import { homedir } from 'node:os'
     import { dirname } from 'node:path'
     const refused = [
       ['/', 'is the root of the file system'],
       [homedir(), 'is the home directory'],
       ...(dirname(homedir()) === '/' ? [] : [[dirname(homedir()), 'is above the home directory']]),
       [process.cwd(), 'is the current directory'],
       [dirname(process.cwd()), 'is above the current directory'],
       ['/proc', 'is a mount point'],
       ['x', 'is not an absolute path'],
       ['./x', 'is not an absolute path'],
       ['', 'is not an absolute path'],
       ['/tmp/../x', "holds '..'"],
       ['/tmp/a\0b', 'holds a NUL character'],
       [${JSON.stringify(join(open, 'x'))}, 'everybody may write to'],
       [7, 'expected an absolute path, got 7'],
       [undefined, 'expected an absolute path, got undefined'],
     ]
     const calls = [durable.path, (path) => durable.path(path, { tree: true }), durable.socket]
     for (const [path, reason] of refused)
       for (const call of calls)
         try {
           call(path)
           console.log('accepted: ' + path)
         } catch ({ code, message }) {
           if (code !== 'ERR_EXODOS_INVALID_ARG' || !message.includes(reason)) console.log(path, code, message)
         }
     console.log(durable.status().records)`.replace('\0', '\\0'),
    { env: { EXODOS_STATE_DIR: state } },
  )
  expect(lines).toEqual(['0'])
  expect(readdirSync(open)).toEqual([])
})

test.skipIf(!canMount)(
  'a full disk (where it can be mounted): nothing is made, cancel() works, the rest is removed',
  async () => {
    const [live, cancelled, run] = [file('live'), file('cancelled'), file('run')]
    const command = (path: string) => [
      'unshare',
      '-m',
      'sh',
      '-c',
      'mount -t tmpfs -o size=600k,mode=700 none "$1" && exec "$2" "$3"',
      'sh',
      state,
      node,
      path,
    ]
    const program = start(
      `import { durable } from 'exodos/durable'
     import { tempDir, tempFile } from 'exodos/temp'
     import { lockFile } from 'exodos/lock'
     import { appendFileSync, readdirSync, writeFileSync, writeSync } from 'node:fs'
     const [dir, state, live, cancelled, run] = ${JSON.stringify([dir, state, live, cancelled, run])}
     durable.path(live)
     const [other, third] = [durable.path(cancelled), durable.path(run)]
     const many = []
     try { for (;;) appendFileSync(state + '/rest', 'x'.repeat(4096)) } catch {}
     let told
     // The last page of the journal has some space left.
     try { for (;;) many.push(durable.path(dir + '/none')) } catch ({ code, message }) { told = code + ' ' + message }
     const before = readdirSync(dir).length
     const codes = []
     for (const act of [() => tempDir({ parent: dir }), () => tempFile({ parent: dir }), () => lockFile(dir + '/lock')])
       try { await act() } catch ({ code }) { codes.push(code) }
     const made = readdirSync(dir).length - before
     for (const record of many) record.cancel()
     other.cancel()
     await third.run()
     writeSync(1, JSON.stringify({ told, codes, made, records: durable.status().records }) + '\\n')
     setInterval(() => {}, 1e9)`,
      { env: { EXODOS_STATE_DIR: state }, command },
    )
    await program.until('\n')
    expect(JSON.parse(program.printed())).toEqual({
      told: expect.stringMatching(/^ERR_EXODOS_RECORD can't be written down: ENOSPC/),
      codes: ['ERR_EXODOS_RECORD', 'ERR_EXODOS_RECORD', 'ERR_EXODOS_RECORD'],
      made: 0,
      records: 1,
    })
    expect(existsSync(run)).toBe(false)
    program.kill('SIGKILL')
    await program.ended
    await untilGone(live)
    expect(existsSync(cancelled)).toBe(true)
  },
)

test.skipIf(!canMount)('a disk that is full from the beginning', async () => {
  const script = 'mount -t tmpfs -o size=64k,mode=700 none "$1" && head -c 64k /dev/zero >"$1/rest"; exec "$2" "$3"'
  const { stdout } = await run(
    `import { durable } from 'exodos/durable'
     try { durable.path(${JSON.stringify(victim)}) } catch ({ code, message }) { console.log(code, message) }
     console.log(JSON.stringify(durable.status()))`,
    { env: { EXODOS_STATE_DIR: state }, command: (path) => ['unshare', '-m', 'sh', '-c', script, 'sh', state, node, path] },
  )
  const [told, status] = stdout.split('\n')
  expect(told).toMatch(/^ERR_EXODOS_RECORD can't be written down: ENOSPC/)
  expect(JSON.parse(status as string)).toMatchObject({ guarded: false, records: 0, reason: expect.stringContaining('ENOSPC') })
  expect(existsSync(victim)).toBe(true)
})

test('the state directory is removed while the program runs: its exit still cleans, and nothing throws', async () => {
  const own = JSON.stringify([1, 2, 3, 4].map((n) => file(`own${n}`)))
  const { code, stderr, stdout } = await run(
    `import { durable } from 'exodos/durable'
     import { rmSync } from 'node:fs'
     const state = process.env.EXODOS_STATE_DIR
     const [one, two, three, four] = ${own}.map((path) => durable.path(path))
     const many = Array.from({ length: 15_000 }, (_, i) => durable.path('/tmp/exodos-none-' + 'x'.repeat(60) + i))
     rmSync(state, { recursive: true })
     for (const each of many) each.cancel()
     one.cancel()
     await two.run()
     three.runSync()
     console.log(durable.status().records)`,
    { env: { EXODOS_STATE_DIR: state } },
  )
  expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: '', stdout: '1\n' })
  expect([1, 2, 3, 4].map((n) => existsSync(join(dir, `own${n}`)))).toEqual([true, false, false, false])
})

test('what fails is kept, told, and done when it can be', { timeout: 60_000 }, async () => {
  const flag = join(dir, 'flag')
  const script = `echo >>${dir}/tries; test -f ${flag} && rm ${victim}`
  const program = start(
    `import { durable } from 'exodos/durable'
     import { writeSync } from 'node:fs'
     durable.command(['/bin/sh', '-c', ${JSON.stringify(script)}])
     durable.path(${JSON.stringify(other)})
     writeSync(1, 'ready')
     setInterval(() => {}, 1e9)`,
    { env: { EXODOS_STATE_DIR: state } },
  )
  await program.until('ready')
  program.kill('SIGKILL')
  await program.ended
  await untilGone(other)
  for (const end = performance.now() + 20_000; !isKept() && performance.now() < end; ) await sleep(20)
  const tries = () => readFileSync(join(dir, 'tries'), 'utf8').length
  expect(tries()).toBe(4)

  const next = async () => {
    const { stdout } = await run(
      `import { durable } from 'exodos/durable'
       const before = durable.status().failed
       const would = await durable.recover({ dryRun: true })
       const { done, left, failed } = await durable.recover()
       console.log(JSON.stringify({ before, would: would.done.length, done: done.length, left, errors: failed.map(({ error }) => error), after: durable.status().failed }))
       process.exit()`,
      { env: { EXODOS_STATE_DIR: state } },
    )
    return JSON.parse(stdout)
  }
  const errors = ['ended with exit code 1']
  expect(await next()).toEqual({ before: 1, would: 1, done: 0, left: [], errors, after: 1 })
  expect(tries()).toBe(8)
  writeFileSync(flag, '')
  expect(await next()).toEqual({ before: 1, would: 1, done: 1, left: [], errors: [], after: 0 })
  expect(existsSync(victim)).toBe(false)
  expect(readdirSync(join(state, 'failed'))).toEqual([])
})

test('the oldest of what failed make room', async () => {
  const failed = join(state, 'failed')
  for (let i = 0; i < 1000; i++) mkdirSync(join(failed, `${ownerOf(9_000_000 - i)}~${i}`), { recursive: true })
  const oldest = join(failed, `${ownerOf(9_000_000)}~0`)
  execFileSync('touch', ['-d', '2001-01-01', oldest])
  journalOf(DEAD, line(1, { kind: 'teleport' }))
  const { recoverDead } = await import('../src/guardian/recovery/claim.js')
  await recoverDead(state)
  expect(readdirSync(failed)).toHaveLength(1000)
  expect(existsSync(oldest)).toBe(false)
})
