import { accessSync, constants, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import type { Report } from '../src/core/report.js'
import { node, nodeMajor, poll } from './support/program.js'
import {
  explicit,
  kill,
  pause,
  register,
  runTree,
  startTree,
  type Tree,
  type TreeEnded,
  untilGone,
  zeroCode,
} from './support/tree-programs.js'

const tsx = fileURLToPath(new URL('../../../node_modules/.bin/tsx', import.meta.url))

/** How the children of a program are started, all in one program. Each notes what happens to it under this name. */
const ways: { name: string; start: string; isSkipped?: boolean }[] = [
  { name: 'spawn', start: `spawn('node', ['kid.mjs', 'spawn'], { stdio: 'ignore' })` },
  { name: 'fork', start: `fork('kid.mjs', ['fork'])` },
  { name: 'exec', start: `exec('node kid.mjs exec', () => {})` },
  { name: 'execFile', start: `execFile('node', ['kid.mjs', 'execFile'], () => {})` },
  { name: 'shell', start: `spawn('node kid.mjs shell; true', { shell: true, stdio: ['ignore', 'ignore', 'pipe'] })` },
  {
    name: 'execa',
    start: `await import('execa').then(({ execa }) => { const kid = execa('node', ['kid.mjs', 'execa']); kid.catch(() => {}); return [kid] })`,
    // Version 10 needs Node 22.
    isSkipped: nodeMajor < 22,
  },
  { name: 'npm', start: `spawn('npm', ['run', '--silent', 'kid'], { stdio: 'ignore' })` },
  { name: 'npx', start: `spawn('npx', ['--no-install', 'the-kid', 'npx'], { stdio: 'ignore' })` },
  { name: 'tsx', start: `spawn(${JSON.stringify(tsx)}, ['kid.mjs', 'tsx'], { stdio: 'ignore' })` },
  { name: 'detached', start: `spawn('node', ['kid.mjs', 'detached'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] })` },
  { name: 'setsid', start: `spawn('sh', ['-c', 'setsid node kid.mjs setsid & wait'], { stdio: 'ignore' })` },
  { name: 'orphan', start: `spawn('sh', ['-c', 'node kid.mjs orphan &'], { stdio: 'ignore' })` },
  { name: 'grandchild', start: `fork('middle.mjs', ['middle'])` },
  { name: 'thread', start: `new Worker(new URL('thread.mjs', import.meta.url))` },
]
const names = ways.filter(({ isSkipped }) => !isSkipped).map(({ name }) => name)

/** What becomes of the program then. */
const ends: { name: string; act: string; kill?: NodeJS.Signals; ended: Partial<TreeEnded> }[] = [
  { name: 'SIGTERM', act: 'ready()', kill: 'SIGTERM', ended: { code: null, signal: 'SIGTERM' } },
  { name: 'process.exit(3)', act: 'process.exit(3)', ended: { code: 3 } },
  { name: 'an uncaught error', act: `setTimeout(() => { throw new Error('boom') })`, ended: { code: 1 } },
  { name: 'the natural end', act: 'children.forEach(letGo)', ended: { code: 0, stderr: '' } },
  { name: 'process.reallyExit(3)', act: 'process.reallyExit(3)', ended: { code: 3 } },
]

const rootOf = (begin: string, act: string) => `${begin}
onExit(() => note('db'), { name: 'db' })
const children = [
  ${ways.flatMap(({ start, isSkipped }) => (isSkipped ? [] : start.replace('await', '...await'))).join(',\n  ')},
]
for (const child of children) if (!(child instanceof Worker)) stopOnExit(child)
const daemon = spawn('node', ['kid.mjs', 'daemon'], { detached: true, stdio: 'ignore' })
stopOnExit(daemon).unref()
await up('daemon', ${names.map((name) => `'${name}'`).join(', ')})
onExit(() => note('log'), { name: 'log' })
${act}`

const threadOf = (begin: string) => `${begin}
stopOnExit(spawn('node', ['kid.mjs', 'thread'], { stdio: 'ignore' }))`
const middleOf = (begin: string) => `${begin}
onExit(() => note('db', 'middle'))
stopOnExit(fork('kid.mjs', ['grandchild']))
await up('grandchild')
onExit(() => note('log', 'middle'))`

/** Runs programs two at a time before the tests look at them. What it returns gives the result of one, or throws its error. */
function ahead<Row, Result>(rows: readonly Row[], run: (row: Row) => Promise<Result>): (row: Row) => Result {
  const results = new Map<Row, () => Result>()
  beforeAll(async () => {
    const rest = [...rows]
    const lane = async () => {
      for (let row = rest.shift(); row; row = rest.shift()) {
        const [result] = await Promise.allSettled([run(row)])
        results.set(row, () => {
          if (result.status === 'rejected') throw result.reason
          return result.value
        })
      }
    }
    await Promise.all([lane(), lane(), lane()])
  }, 120_000)
  return (row) => (results.get(row) as () => Result)()
}

const kinds = [
  { kind: 'stopOnExit, children with exodos', begin: explicit, nodeOptions: [], files: {} },
  {
    kind: '--import exodos/register, children without',
    begin: zeroCode,
    nodeOptions: register,
    files: { 'kid.mjs': `import './plain.mjs'` },
  },
]

describe('cleaned up once, after `log` and before `db`, nobody left', () => {
  const programs = kinds.flatMap((kind) => ends.map((end) => ({ title: `${end.name}, ${kind.kind}`, kind, end })))
  const endOf = ahead(programs, async ({ kind: { begin, nodeOptions, files }, end: { act, kill: signal } }) => {
    const others = { 'thread.mjs': threadOf(begin), 'middle.mjs': middleOf(begin) }
    const tree = startTree(rootOf(begin, act), { nodeOptions, files: { ...others, ...files }, timeout: 60_000 })
    if (signal) {
      await tree.program.until('ready')
      tree.program.kill(signal)
    }
    return tree.over()
  })

  describe.each(programs)('$title: started by', (row) => {
    test.each(names)('%s', (name) => {
      const order = endOf(row).events.filter((event) => /^root /.test(event) || event.startsWith(`${name} `))
      const whole = ['root log', `${name} closing`, `${name} closed`, 'root db']
      // It kills what doesn't answer within 60 ms that it has heard.
      const isCut = name === 'tsx' && order.length < whole.length
      expect(order).toEqual(isCut ? whole.filter((event) => order.includes(event)) : whole)
    })

    test('nobody, but a daemon that was only adopted', () => {
      const ended = endOf(row)
      expect(ended.left).toEqual(row.kind.nodeOptions.length > 0 ? ['node kid.mjs daemon'] : [])
      expect(ended).toMatchObject(row.end.ended)
      expect(ended.stderr).toMatch(row.end.name === 'an uncaught error' ? /Error: boom/ : /^$/)
    })
  })
})

/** What the report of a program says of its children. */
function childrenIn({ report }: TreeEnded) {
  const hooks = report?.hooks.filter(({ name }) => name === 'children') ?? []
  return hooks.map(({ status, error, result }) => ({ status, code: error?.code, ...(result as Told) }))
}

interface Named {
  pid: number
  command: string
}

interface Told {
  children: (Named & { asked?: string; killed?: true; exit?: object; report?: Report })[]
  ended?: Named[]
  escaped?: Named[]
}

const of = ({ events }: TreeEnded, name: string) =>
  events.filter((event) => event.startsWith(`${name} `)).map((event) => event.slice(name.length + 1))

describe('E12 a signal to a whole group in a terminal, parent and children: each cleans up once, none is sent a second one', () => {
  const listens = `for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM']) process.on(signal, () => note(signal))`
  const files = {
    // Longer than two signals are taken for one.
    'kid.mjs': `import { setTimeout as sleep } from 'node:timers/promises'
      import { onExit } from 'exodos'
      import { hold, note } from './note.mjs'
      ${listens}
      onExit(async () => { note('closing'); await sleep(700); note('closed') })
      note('up'); hold()`,
    'plain.mjs': `import { hold, note } from './note.mjs'
      ${listens}
      for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM'])
        process.on(signal, () => { note('closing'); setTimeout(() => { note('closed'); process.exit() }, 700) })
      note('up'); hold()`,
  }
  const source = `${explicit}
    onExit(() => note('closed'))
    stopOnExit(fork('kid.mjs', ['fork'], { stdio: 'ignore' }))
    stopOnExit(spawn('node', ['kid.mjs', 'spawn'], { stdio: 'ignore' }))
    stopOnExit(spawn('node', ['plain.mjs', 'plain'], { stdio: 'ignore' }))
    stopOnExit(spawn('node kid.mjs shell; true', { shell: true, stdio: 'ignore' }))
    note('up')
    await up('fork', 'spawn', 'plain', 'shell')
    ready()`
  const table: { name: string; act: (tree: Tree) => unknown; told: string; code: number }[] = [
    { name: 'Ctrl-C', act: ({ program }) => program.child.stdin?.write('\x03'), told: 'SIGINT', code: 130 },
    { name: 'Ctrl-\\', act: ({ program }) => program.child.stdin?.write('\x1c'), told: 'SIGQUIT', code: 131 },
    // Who shares the terminal seems to have been told, and is asked when nothing shows it.
    {
      name: 'SIGINT to the parent alone',
      act: async (tree) => kill(await tree.noted('root', 'up'), 'SIGINT'),
      told: 'SIGTERM',
      code: 130,
    },
  ]
  const endOf = ahead(table, async ({ act }) => {
    const command = (file: string) => ['script', '-qec', `exec ${node} ${file}`, '/dev/null']
    const tree = startTree(source, { files, command, stdio: ['pipe', 'pipe', 'pipe'], env: { EXODOS_GRACE: '8s' } })
    await tree.program.until('ready')
    await act(tree)
    return tree.over()
  })
  test.each(table)('$name', (row) => {
    const { told, code } = row
    const ended = endOf(row)
    for (const name of ['fork', 'spawn', 'plain', 'shell'])
      expect([name, ...of(ended, name).sort()]).toEqual([name, told, 'closed', 'closing'])
    expect(of(ended, 'root')).toEqual(['closed'])
    expect(ended).toMatchObject({ code, left: [] })
  })
})

test.concurrent('E45 IPC disconnect × child: it leaves by its policy', async () => {
  const kidWith = (policy: string) => `import { configure, onExit } from 'exodos'
    import { hold, note } from './note.mjs'
    configure({ onParentLost: '${policy}' })
    onExit(({ reason }) => note('closed: ' + reason.kind))
    process.on('disconnect', () => setTimeout(() => note('still there'), 500))
    note('up'); hold()`
  const source = `${explicit}
    const kids = ['exit', 'stay'].map((name) => stopOnExit(fork(name + '.mjs', [name])))
    await up('exit', 'stay')
    kids[0].on('exit', (code) => note('exit ended with ' + code))
    for (const kid of kids) kid.disconnect()
    hold()`
  const tree = startTree(source, { files: { 'exit.mjs': kidWith('exit'), 'stay.mjs': kidWith('stay') } })
  await tree.noted('stay', 'still there')
  tree.program.kill('SIGTERM')
  const ended = await tree.over()
  expect(ended.events).toEqual(['exit closed: parent', 'root exit ended with 0', 'stay still there', 'stay closed: signal'])
  expect(ended).toMatchObject({ signal: 'SIGTERM', left: [], stderr: '' })
})

describe('E46 parent killed by SIGKILL × child: it cleans up; the guardian ends those that hang or do not listen', () => {
  const cleaned = ['fork', 'spawn', 'detached', 'setsid', 'shell', 'orphan', 'grandchild', 'plain']
  const endOf = ahead(kinds, async ({ begin, nodeOptions, files }) => {
    const source = `${begin}
      stopOnExit(fork('kid.mjs', ['fork']))
      stopOnExit(spawn('node', ['kid.mjs', 'spawn'], { stdio: 'ignore' }))
      stopOnExit(spawn('node', ['kid.mjs', 'detached'], { detached: true, stdio: ['ignore', 'pipe', 'ignore'] }))
      stopOnExit(spawn('sh', ['-c', 'setsid node kid.mjs setsid & node kid.mjs shell; true'], { stdio: 'ignore' }))
      stopOnExit(spawn('sh', ['-c', 'node kid.mjs orphan &'], { stdio: 'ignore' }))
      stopOnExit(fork('middle.mjs', ['middle']))
      stopOnExit(spawn('node', ['plain.mjs', 'plain'], { stdio: 'ignore' }))
      stopOnExit(spawn('node', ['deaf.mjs', 'deaf'], { stdio: 'ignore' }), { timeout: 300 })
      stopOnExit(fork('hung.mjs', ['hung']), { timeout: 300 })
      await up('deaf', 'hung', ${cleaned.map((name) => `'${name}'`)})
      ready()`
    const hung = `import { onExit } from 'exodos'
      import { note } from './note.mjs'
      onExit(() => note('closed'))
      note('up')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)`
    const tree = startTree(source, {
      nodeOptions,
      files: { 'middle.mjs': middleOf(begin), 'hung.mjs': hung, ...files },
      timeout: 40_000,
    })
    await tree.program.until('ready')
    const all = tree.living()
    tree.program.kill('SIGKILL')
    await untilGone(all, 30_000)
    return tree.over()
  })
  test.each(kinds)('$kind', (kind) => {
    const ended = endOf(kind)
    for (const name of cleaned) expect([name, ...of(ended, name)]).toEqual([name, 'closing', 'closed'])
    expect(of(ended, 'middle')).toEqual(['log', 'db'])
    expect(of(ended, 'deaf')).toEqual(['asked'])
    expect(of(ended, 'hung')).toEqual([])
  })
})

describe('E47 a child that ignores SIGTERM: SIGKILL, its death confirmed, reported', () => {
  const table = [
    { name: 'process.exit(0)', act: 'process.exit(0)', how: { code: 1 } },
    { name: 'process.reallyExit(0)', act: 'process.reallyExit(0)', how: { code: 1 } },
    { name: 'SIGTERM', act: `process.kill(process.pid, 'SIGTERM'); hold()`, how: { signal: 'SIGTERM' } },
  ]
  const endOf = ahead(table, ({ act }) => {
    const source = `${explicit}
      onExit(() => note('db'))
      stopOnExit(spawn('node', ['deaf.mjs', 'child'], { stdio: 'ignore' }))
      stopOnExit(spawn('sh', ['-c', 'node deaf.mjs descendant; true'], { stdio: 'ignore' }))
      await up('child', 'descendant')
      ${act}`
    return runTree(source, { env: { EXODOS_GRACE: '1500ms' } })
  })
  test.each(table)('$name', (row) => {
    const ended = endOf(row)
    expect(ended).toMatchObject({ ...row.how, left: [] })
    expect(of(ended, 'root')).toEqual(['db'])
    expect(of(ended, 'child')[0]).toBe('asked')
    const [told] = childrenIn(ended)
    const [child, shell] = told?.children ?? []
    expect(told).toMatchObject({ status: 'failed', code: 'ERR_EXODOS_KILLED' })
    expect(child).toMatchObject({ command: 'node deaf.mjs child', asked: 'SIGTERM', killed: true })
    expect(shell).not.toHaveProperty('killed')
    expect(told?.ended).toEqual([expect.objectContaining({ command: 'node deaf.mjs descendant' })])
    expect(ended.stderr).toMatch(/deaf\.mjs child\) did not end in time: it was killed/)
    expect(ended.stderr).toMatch(/deaf\.mjs descendant\), a descendant, did not end in time: it was killed/)
  })
})

test.concurrent('E48 a grandchild that is detached, or in a session of its own: found; with a scrubbed environment as well: reported', async () => {
  const source = `${explicit}
    stopOnExit(spawn('sh', ['-c', \`setsid node plain.mjs setsid &
      setsid env -i "PATH=$PATH" node plain.mjs escaped &
      env -i "PATH=$PATH" node plain.mjs scrubbed &
      node detaches.mjs & wait\`], { stdio: 'ignore' }))
    await up('setsid', 'escaped', 'scrubbed', 'detached')
    ready()`
  const files = {
    'detaches.mjs': `import { spawn } from 'node:child_process'
      spawn('node', ['plain.mjs', 'detached'], { detached: true, stdio: 'ignore' }).unref()`,
  }
  const tree = startTree(source, { files })
  await tree.program.until('ready')
  tree.program.kill('SIGTERM')
  const ended = await tree.over()
  for (const name of ['setsid', 'scrubbed', 'detached']) expect([name, ...of(ended, name)]).toEqual([name, 'closing', 'closed'])
  expect(of(ended, 'escaped')).toEqual([])
  expect(ended).toMatchObject({ signal: 'SIGTERM', left: ['node plain.mjs escaped'] })
  expect(childrenIn(ended)).toMatchObject([{ status: 'ok', escaped: [{ command: 'node plain.mjs escaped' }] }])
  expect(ended.stderr).toMatch(/plain\.mjs escaped\) has left the tree/)
})

test.concurrent('the guardian of a child that is killed does its cleanups, and is not taken for one that has left the tree', async () => {
  const source = `${explicit}
    stopOnExit(fork('hung.mjs', ['hung']), { timeout: 600 })
    await up('hung')
    process.exit(0)`
  const files = {
    'hung.mjs': `import { durable } from 'exodos/durable'
      import { tempDir } from 'exodos/temp'
      import { note } from './note.mjs'
      tempDir({ parent: process.cwd(), prefix: 'resource-' })
      durable.command(['sleep', '1'])
      note('up')
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)`,
  }
  const tree = startTree(source, { files })
  const ended = await tree.over()
  expect(childrenIn(ended)).toMatchObject([{ children: [{ killed: true }] }])
  expect(childrenIn(ended)[0]).not.toHaveProperty('escaped')
  expect(ended.stderr).not.toContain('has left the tree')
  await poll(() => readdirSync(tree.dir).filter((name) => name.startsWith('resource')), { timeout: 10_000 }).toEqual([])
})

describe('E49 a pid that was given to another process meanwhile: that is not killed', () => {
  const lastPid = '/proc/sys/kernel/ns_last_pid'

  test.skipIf(!isWritable(lastPid))('a descendant: it ends when it is asked, and a stranger gets its pid', async () => {
    const script = `sleep 600 & old=$!
      trap 'kill -9 $old; wait $old
        for n in $(seq 500); do
          echo $((old - 1)) > ${lastPid}
          setsid env -i sleep 601 & new=$!
          [ $new = $old ] && break
          kill -9 $new
        done
        # Before that it is still of the tree.
        until grep -q sleep /proc/$new/comm; do :; done
        echo "$old $new" > pids; exit' TERM
      node plain.mjs child & wait`
    const source = `${explicit}
      stopOnExit(spawn('sh', ['-c', ${JSON.stringify(script)}], { stdio: 'ignore' }))
      await up('child')
      ready()`
    const tree = startTree(source)
    await tree.program.until('ready')
    tree.program.kill('SIGTERM')
    await tree.program.ended
    const [old, stranger] = readFileSync(join(tree.dir, 'pids'), 'utf8').trim().split(' ')
    const ended = await tree.over()
    expect(stranger).toBe(old)
    expect(of(ended, 'child')).toEqual(['closing', 'closed'])
    expect(ended.left).toEqual(['sleep 601'])
    expect(childrenIn(ended)).toMatchObject([{ status: 'ok' }])
  })

  test('the child of a parent that was killed: the guardian looks at its start time', async () => {
    const source = `${explicit}
      stopOnExit(spawn('node', ['plain.mjs', 'child'], { stdio: 'ignore' }), { tree: false })
      await up('child')
      ready()`
    const tree = startTree(source)
    await tree.program.until('ready')
    const child = await tree.noted('child', 'up')
    const [journal = ''] = globSync(join(tree.dir, 'state/owners'), '.journal')
    const text = readFileSync(journal, 'utf8')
    expect(text).toContain(`"start":"${child.startTime}"`)
    // As if the one that was recorded had been started a moment earlier: just as many bytes.
    writeFileSync(journal, text.replace(`"start":"${child.startTime}"`, `"start":"${Number(child.startTime) - 1}"`))
    tree.program.kill('SIGKILL')
    await tree.program.ended
    await poll(() => readFailed(tree.dir), { timeout: 10_000 }).toContain('is not the one that was recorded')
    const ended = await tree.over()
    expect(of(ended, 'child')).toEqual([])
    expect(ended.left).toEqual(['node plain.mjs child'])
  })
})

function isWritable(file: string): boolean {
  try {
    accessSync(file, constants.W_OK)
    return process.getuid?.() === 0
  } catch {
    return false
  }
}

const filesIn = (dir: string): string[] =>
  readdirSync(dir, { withFileTypes: true }).flatMap((each) =>
    each.isDirectory() ? filesIn(join(dir, each.name)) : join(dir, each.name),
  )
const globSync = (dir: string, end: string) => filesIn(dir).filter((name) => name.endsWith(end))
const readFailed = (dir: string) =>
  globSync(join(dir, 'state'), '.journal')
    .map((name) => readFileSync(name, 'utf8'))
    .join('\n')

/** A child whose hook takes a while. */
const slow = (ms: number) => `import { setTimeout as sleep } from 'node:timers/promises'
  import { onExit } from 'exodos'
  import { hold, note } from './note.mjs'
  onExit(async () => { note('closing'); await sleep(${ms}); note('closed') })
  note('up'); hold()`

test.concurrent('children with nothing in between are stopped at the same time, where the first of them was started', async () => {
  const source = `${explicit}
    onExit(() => note('db'))
    stopOnExit(spawn('node', ['slow.mjs', 'a'], { stdio: 'ignore' }))
    stopOnExit(fork('slow.mjs', ['b']))
    onExit(() => note('between'))
    stopOnExit(fork('slow.mjs', ['c']))
    onExit(() => note('log'))
    await up('a', 'b', 'c')
    process.exit(0)`
  const ended = await runTree(source, { files: { 'slow.mjs': slow(1000) } })
  const { events } = ended
  expect(events.slice(0, 4)).toEqual(['root log', 'c closing', 'c closed', 'root between'])
  expect(events.slice(4, 6).sort()).toEqual(['a closing', 'b closing'])
  expect(events.slice(6, 8).sort()).toEqual(['a closed', 'b closed'])
  expect(events.slice(8)).toEqual(['root db'])
  expect(ended).toMatchObject({ code: 0, stderr: '', left: [] })
  expect(childrenIn(ended).map(({ children }) => children.length)).toEqual([1, 2])
})

test.concurrent('the grace period shrinks down the tree, and the environment that a program gives to its child counts when it is shorter', async () => {
  const says = `import { note, hold } from './note.mjs'; import './kid.mjs'; note(process.env.EXODOS_GRACE)`
  const source = `${explicit}
    const withGrace = (name, grace) => fork('says.mjs', [name], { env: { ...process.env, EXODOS_GRACE: grace } })
    for (const child of [fork('says.mjs', ['child']), withGrace('modest', '100ms'), withGrace('greedy', '60s'), fork('middle.mjs', ['middle'])])
      stopOnExit(child)
    stopOnExit(fork('never.mjs', ['never']))
    onExit(() => {})
    await up('child', 'modest', 'greedy', 'grandchild', 'never')
    process.exit(0)`
  const files = {
    'says.mjs': says,
    'middle.mjs': `${explicit} stopOnExit(fork('says.mjs', ['grandchild'])); await up('grandchild')`,
    'never.mjs': `import { onExit } from 'exodos'
      import { hold, note } from './note.mjs'
      onExit(() => note('closed'))
      onExit(() => new Promise(() => {}), { name: 'never' })
      note('up'); hold()`,
  }
  const ended = await runTree(source, { files, env: { EXODOS_GRACE: '4s' } })
  const graces = Object.fromEntries(ended.events.filter((event) => event.endsWith('ms')).map((event) => event.split(' ')))
  expect(graces).toEqual({ child: '2000ms', modest: '100ms', greedy: '2000ms', grandchild: '1000ms' })
  // Half of what it had, then the rest: it has left by itself.
  expect(of(ended, 'never')).toEqual(['closed'])
  const [told] = childrenIn(ended)
  const never = told?.children.find(({ command }) => command.endsWith('never'))
  expect(told?.status).toBe('ok')
  expect(never).toMatchObject({ asked: 'SIGTERM', exit: { signal: 'SIGTERM' }, report: { forced: false } })
  expect(never?.report?.hooks).toMatchObject([{ name: 'never', status: 'overdue' }, { status: 'ok' }])
  expect(ended.left).toEqual([])
})

test.concurrent('`timeout`: who takes longer is forced and its hooks run; who still does not end is killed; both are in the report', async () => {
  const source = `${explicit}
    stopOnExit(fork('long.mjs', ['long']), { timeout: '4s', name: 'long' })
    stopOnExit(spawn('node', ['deaf.mjs', 'deaf'], { stdio: 'ignore' }), { timeout: 500 })
    onExit(() => {})
    await up('long', 'deaf')
    process.exit(0)`
  const files = {
    'long.mjs': `import { onExit } from 'exodos'
      import { hold, note } from './note.mjs'
      onExit(() => note('closed'))
      onExit(({ signal }) => new Promise((resolve) => signal.addEventListener('abort', () => resolve(note('aborted')))), { timeout: '20s' })
      note('up'); hold()`,
  }
  const ended = await runTree(source, { files, env: { EXODOS_GRACE: '60s' } })
  expect(of(ended, 'long')).toEqual(['aborted', 'closed'])
  expect(ended).toMatchObject({ code: 1, left: [] })
  // Far from what the grace period would have given to them.
  expect(ended.report?.duration).toBeLessThan(20_000)
  expect(childrenIn(ended)).toMatchObject([
    {
      status: 'failed',
      code: 'ERR_EXODOS_KILLED',
      children: [
        { asked: 'SIGTERM', exit: { signal: 'SIGTERM' }, report: { forced: true } },
        { asked: 'SIGTERM', exit: { signal: 'SIGKILL' }, killed: true },
      ],
    },
  ])
})

describe.concurrent('whom it asks, and with what', () => {
  const files = {
    'says.mjs': `import { hold, note } from './note.mjs'
      for (const signal of ['SIGTERM', 'SIGINT', 'SIGUSR2'])
        process.on(signal, () => { note(signal); setTimeout(() => process.exit(), 100) })
      note('up'); hold()`,
  }
  const says = (name: string, env = '') => `spawn('node', ['says.mjs', '${name}'], { stdio: 'ignore' ${env} })`

  test('killSignal; tree: false; the last call; nobody whom the program has asked itself', async () => {
    const source = `${explicit}
      onExit(() => {})
      stopOnExit(${says('other')}, { killSignal: 'SIGUSR2' })
      stopOnExit(spawn('sh', ['-c', 'node says.mjs below & wait'], { stdio: 'ignore' }), { tree: false })
      const twice = stopOnExit(${says('twice')}, { killSignal: 'SIGUSR2' })
      stopOnExit(twice)
      const asked = stopOnExit(${says('asked')})
      await up('other', 'below', 'twice', 'asked')
      asked.kill('SIGINT')
      process.exit(0)`
    const ended = await runTree(source, { files })
    expect([...ended.events].sort()).toEqual(['asked SIGINT', 'other SIGUSR2', 'twice SIGTERM'])
    expect(ended).toMatchObject({ code: 0, stderr: '', left: ['node says.mjs below'] })
    expect(childrenIn(ended).map(({ children }) => children.map(({ asked }) => asked))).toEqual([
      ['SIGUSR2', 'SIGTERM', 'SIGTERM', undefined],
    ])
  })

  test('exodos/register: not who belongs to nobody, by an empty EXODOS_TREE, nor what that one starts', async () => {
    const source = `${zeroCode}
      ${says('ours')}
      ${says('nobodys', `, env: { ...process.env, EXODOS_TREE: '' }`)}
      await up('ours', 'nobodys')
      process.exit(0)`
    const ended = await runTree(source, { files, nodeOptions: register })
    expect(ended.events).toEqual(['ours SIGTERM'])
    expect(ended).toMatchObject({ code: 0, stderr: '', left: ['node says.mjs nobodys'] })
  })

  test('one that comes when the hooks have run is asked at once, and the caller is told', async () => {
    const source = `${explicit}
      onExit(() => {})
      process.on('exit', () => {
        try {
          stopOnExit(spawn('sleep', ['600'], { stdio: 'ignore' }))
        } catch (error) {
          note(error.code)
        }
      })
      process.exit(0)`
    const tree = startTree(source)
    await tree.program.ended
    await untilGone(tree.living())
    expect(await tree.over()).toMatchObject({ code: 0, events: ['root ERR_EXODOS_CLOSED'], left: [] })
  })
})

test.concurrent("exodos/register: what is started in the 'exit' event is started, also where a child has ended the program", async () => {
  const source = `${zeroCode}
    process.on('exit', () => spawn('node', ['plain.mjs', 'daemon'], { detached: true, stdio: 'ignore' }).unref())
    spawn('true').on('exit', (code) => process.exit(code))`
  const tree = startTree(source, { nodeOptions: register })
  await tree.noted('daemon', 'up')
  expect(await tree.over()).toMatchObject({ code: 0, stderr: '', events: [], left: ['node plain.mjs daemon'] })
})

/** Where a worker process gets its resource, and what becomes of it. */
const worker = `
import { setTimeout as sleep } from 'node:timers/promises'
import { closeOnExit, onExit } from 'exodos'
import { tempDir } from 'exodos/temp'
import { hold, name, note, up } from './note.mjs'
async function initialise() {
  const dir = tempDir({ parent: process.cwd(), prefix: 'resource-' })
  await sleep(1)
  return { dir, close: async () => { note('closing'); await sleep(10); note('closed') } }
}
closeOnExit(await initialise(), { name: 'resource' })
note('up')
await up('one', 'two')
`
const workers = `${explicit}
const workers = ['one', 'two'].map((name) => stopOnExit(fork('worker.mjs', [name])))
for (const worker of workers) worker.on('exit', (code, signal) => note('ended ' + (signal ?? code)))
await up('one', 'two')
`

/** A way out, as the program takes it that has started the workers, or as each of them does; and what its parent sees. */
interface Way {
  row: string
  act: string
  /** Of the program; of a worker if that is another one. */
  end: string
  workersEnd?: string
  only?: 'parent' | 'workers'
  /** The resource is removed, but nobody can close it. */
  isKilled?: boolean
  /** Default 3 s. */
  grace?: string
}
const never = 'onExit(() => new Promise(() => {}));'
const wayOut: Way[] = [
  { row: 'tree/E1 the natural end', act: 'globalThis.workers?.forEach(letGo)', end: '0' },
  { row: 'tree/E3 process.exit(3)', act: 'process.exit(3)', end: '3' },
  { row: 'tree/E6 an uncaught error', act: `setTimeout(() => { throw new Error('boom') }); hold()`, end: '1' },
  { row: 'tree/E8 an unhandled rejection', act: `Promise.reject(new Error('boom')); hold()`, end: '1' },
  ...['SIGTERM', 'SIGHUP', 'SIGQUIT'].map((signal) => ({
    row: `tree/${signal === 'SIGTERM' ? 'E10' : 'E13'} ${signal}`,
    act: `process.kill(process.pid, '${signal}'); hold()`,
    end: signal,
  })),
  {
    row: 'tree/E15 SIGTERM, later SIGINT',
    act: `${never} process.kill(process.pid, 'SIGTERM'); setTimeout(() => process.kill(process.pid, 'SIGINT'), 600)`,
    end: 'SIGTERM',
    // What is left then is a tenth, at most a second.
    grace: '10s',
  },
  { row: 'tree/E23 a hook that never settles', act: `${never} process.exit(0)`, end: '1' },
  { row: 'tree/E35 a hook that calls process.exit(9)', act: 'onExit(() => process.exit(9)); process.exit(0)', end: '9' },
  { row: 'tree/E45 IPC disconnect', act: 'for (const worker of workers) worker.disconnect()', end: '0', only: 'parent' },
  { row: 'tree/E46 SIGKILL of the parent', act: `process.kill(process.pid, 'SIGKILL')`, end: 'SIGKILL', only: 'parent' },
  { row: 'tree/E53 abort of the parent', act: 'process.abort()', end: 'SIGABRT', only: 'parent' },
  {
    row: 'tree/E53 SIGKILL of each worker',
    act: `process.kill(process.pid, 'SIGKILL')`,
    end: 'SIGKILL',
    only: 'workers',
    isKilled: true,
  },
]

describe('a resource that an initialiser opens in each worker process is closed in each', () => {
  const table = wayOut.flatMap(({ only, ...way }) =>
    (['parent', 'workers'] as const).flatMap((who) => (only && only !== who ? [] : { who, ...way })),
  )
  const endOf = ahead(table, async ({ who, act, grace = '3s' }) => {
    const [inParent, inWorkers] = who === 'parent' ? [act, 'hold()'] : ['', act]
    const source = `${workers} globalThis.workers = workers\n${inParent}`
    const tree = startTree(source, { files: { 'worker.mjs': worker + inWorkers }, env: { EXODOS_GRACE: grace }, timeout: 25_000 })
    const ended = await tree.over()
    const resources = () => readdirSync(tree.dir).filter((name) => name.startsWith('resource'))
    // A guardian needs a moment.
    for (const end = performance.now() + 10_000; resources().length > 0 && performance.now() < end; ) await pause()
    return { ...ended, resources: resources() }
  })
  test.each(table)('$row in $who', (row) => {
    const { who, end, isKilled } = row
    const ended = endOf(row)
    const ways = ended.notes.filter(({ what }) => what.startsWith('ended')).map(({ what }) => what)
    if (who === 'workers') expect(ways).toEqual([`ended ${end}`, `ended ${end}`])
    else expect(ended.signal ?? String(ended.code)).toBe(end)
    for (const name of ['one', 'two'])
      expect([name, ...of(ended, name)]).toEqual([name, ...(isKilled ? [] : ['closing', 'closed'])])
    expect(ended).toMatchObject({ left: [], resources: [] })
  })
})

describe.concurrent.each(kinds)('$kind', ({ begin, nodeOptions }) => {
  test.each(['SIGTERM', 'process.exit'])(
    'a program that starts a new child for each that has ended, %s: no more are started',
    async (way) => {
      const source = `${begin}
      const launch = (start) => stopOnExit(start()).on('exit', () => launch(start))
      launch(() => fork('plain.mjs', ['fork']))
      launch(() => spawn('node', ['plain.mjs', 'spawn'], { stdio: 'ignore' }))
      await up('fork', 'spawn')
      ${way === 'SIGTERM' ? 'ready()' : 'process.exit(0)'}`
      const tree = startTree(source, { nodeOptions })
      if (way === 'SIGTERM') {
        await tree.program.until('ready')
        tree.program.kill('SIGTERM')
      }
      const ended = await tree.over()
      expect(ended.events).toHaveLength(4)
      expect(ended).toMatchObject({ ...(way === 'SIGTERM' ? { signal: way } : { code: 0 }), stderr: '', left: [] })
    },
  )

  test('with other arguments each time, it comes to an end as well', async () => {
    const source = `${begin}
      let n = 0
      const launch = () => stopOnExit(spawn('node', ['plain.mjs', 'kid', ++n], { stdio: 'ignore' })).on('exit', launch)
      onExit(() => {})
      launch()
      await up('kid')
      process.on('exit', () => note('started ' + n))
      process.exit(0)`
    const ended = await runTree(source, { nodeOptions, env: { EXODOS_GRACE: '2s' } })
    expect(ended.left).toEqual([])
    expect(Number(of(ended, 'root')[0]?.split(' ')[1])).toBeLessThan(20)
  })

  const calls = [
    { name: 'execa', call: `(await import('execa')).execa('node', ['kid.mjs', 'kid'])`, isSkipped: nodeMajor < 22 },
    { name: 'promisify(exec)', call: `promisify(exec)('node kid.mjs kid; exit 5')` },
    { name: 'promisify(execFile)', call: `promisify(execFile)('node', ['kid.mjs', 'kid'])` },
  ].filter(({ isSkipped }) => !isSkipped)
  test.each(calls)('the error of a child that is stopped is none of the program: $name', async ({ call }) => {
    const source = `${begin}
      onExit(async () => { await sleep(1); note('db') })
      const call = ${call}
      stopOnExit(call.child ?? call)
      await up('kid')
      setTimeout(() => process.exit(0))
      await call
      note('never')`
    const ended = await runTree(source, { nodeOptions })
    expect(of(ended, 'root')).toEqual(['db'])
    expect(ended).toMatchObject({ code: 0, stderr: '', left: [] })
  })
})

test.concurrent('bad input is told, with the name of the argument', async () => {
  const child = `spawn('true')`
  const table: [call: string, message: RegExp][] = [
    ['stopOnExit()', /^stopOnExit\(child, options\): .*a child process/],
    ['stopOnExit(null)', /^stopOnExit\(child, options\): .*null/],
    ['stopOnExit(process.pid)', /^stopOnExit\(child, options\): /],
    ['stopOnExit({ pid: 1, kill() {} })', /^stopOnExit\(child, options\): /],
    ['stopOnExit(new Worker("", { eval: true }))', /^stopOnExit\(child, options\): /],
    [`stopOnExit(${child}, 5)`, /^stopOnExit\(child, options\): .*5/],
    [`stopOnExit(${child}, null)`, /^stopOnExit\(child, options\): .*null/],
    [`stopOnExit(${child}, { killsignal: 'SIGINT' })`, /^stopOnExit\(child, options\): .*killSignal.*killsignal/],
    [`stopOnExit(${child}, { name: 5 })`, /^options\.name: .*a string/],
    [`stopOnExit(${child}, { killSignal: 'SIGNONE' })`, /^options\.killSignal: .*SIGNONE/],
    [`stopOnExit(${child}, { killSignal: 15 })`, /^options\.killSignal: .*15/],
    [`stopOnExit(${child}, { timeout: 'soon' })`, /^options\.timeout: .*soon/],
    [`stopOnExit(${child}, { timeout: -1 })`, /^options\.timeout: .*-1/],
    [`stopOnExit(${child}, { tree: 'no' })`, /^options\.tree: .*no/],
  ]
  const tries = table.map(([call]) => `() => ${call}`).join(',\n')
  const source = `${explicit}
    for (const attempt of [${tries}])
      try { attempt(); console.log('nothing is thrown') } catch ({ code, message, name }) { console.log(JSON.stringify({ code, message, name })) }`
  const { code, lines } = await runTree(source)
  const errors = lines.map((line) => (line.startsWith('{') ? JSON.parse(line) : line))
  expect(errors).toEqual(
    table.map(([, message]) => ({
      code: 'ERR_EXODOS_INVALID_ARG',
      name: expect.stringContaining('TypeError'),
      message: expect.stringMatching(message),
    })),
  )
  expect(code).toBe(0)
})

test.concurrent('a child that has ended, or could not be started, is left alone', async () => {
  const source = `${explicit}
    const over = spawn('true')
    await new Promise((resolve) => over.on('exit', resolve))
    const none = spawn('/no/such/program').on('error', () => {})
    console.log(stopOnExit(over) === over, stopOnExit(none) === none)`
  expect(await runTree(source)).toMatchObject({ code: 0, lines: ['true true'], stderr: '' })
})
