import { describe, expect, test } from 'vitest'
import { type Ended, node, prelude, run, start } from './support/program.js'
import { exodosRun, main } from './support/supervise.js'

const ps = (dir: string, ...args: string[]): Promise<Ended> =>
  run('', { command: () => [node, main, 'ps', ...args], env: { EXODOS_STATE_DIR: `${dir}/state` } })

/** The rows of the table, without what stands below them. */
const rows = ({ stdout }: Ended) =>
  stdout
    .split('\n')
    .filter((line) => /^ *\d+ {2}/.test(line))
    .map((line) => line.trim().split(/ {2,}/))

describe.concurrent('exodos ps', () => {
  const tree = `${prelude}
    import { spawn } from 'node:child_process'
    import { once } from 'node:events'
    onExit(() => {}, { name: 'close the database' })
    const kinds = {
      deaf: ['sh', ['-c', 'trap "" TERM; echo up; sleep 60']],
      handles: ['sh', ['-c', 'trap "exit 0" TERM; echo up; sleep 60 & wait']],
      plain: ['sh', ['-c', 'echo up; exec sleep 60']],
      orphan: ['sh', ['-c', 'setsid sh -c "echo up; exec sleep 61" & wait $!; sleep 62']],
      hooks: [process.execPath, ['-e', 'require("exodos").onExit(() => {}); setInterval(() => {}, 1e3); console.log("up")']],
    }
    for (const [file, args] of Object.values(kinds)) await once(spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] }).stdout, 'data')
    say('pid ' + process.pid)
    hold()`

  test('a tree: who has hooks, and what SIGTERM does to each', async () => {
    const program = start(tree, { nodeOptions: ['--import', 'exodos/register'] })
    await program.until('pid ')
    const pid = String(program.child.pid)
    const ended = await ps(program.dir, pid)
    const found = rows(ended)
    expect(ended.code).toBe(0)
    expect(found[0]?.slice(2, 4)).toEqual(['yes', 'runs its exit hooks'])
    const is = (command: RegExp) => found.find((row) => command.test(row.at(-1) ?? ''))?.slice(2, 4)
    expect(is(/^sh -c trap "" TERM/)).toEqual(['no', 'ignores it'])
    expect(is(/^sh -c trap "exit 0"/)).toEqual(['no', 'as it likes'])
    expect(is(/^sleep 60$/)).toBeDefined()
    expect(is(/^sleep 61$/)).toEqual(['no', 'ends at once'])
    expect(is(/ -e require/)).toEqual(['yes', 'runs its exit hooks'])
    expect(is(/^\(exodos: the guardian/)).toEqual(['no', 'ignores it'])
    expect(ended.stdout).toContain('if killed: end all that descends from it')
    program.kill('SIGTERM')
    await program.ended
  })

  test('--hooks lists the exit hooks of a program under exodos run', async () => {
    const source = `${prelude} onExit(() => {}, { name: 'close the database' }); onExit(() => {}, { name: 'save', phase: 'save' }); hold(); say('ready')`
    const program = start(source, { command: (file) => exodosRun([], node, file) })
    await program.until('ready')
    const { code, stdout } = await ps(program.dir, '--hooks', String(program.child.pid))
    expect(code).toBe(0)
    expect(stdout).toMatch(/save, all at once.*- save .*release.*1\. close the database/s)
    program.kill('SIGTERM')
    expect((await program.ended).signal).toBe('SIGTERM')
  })

  test('what is not there', async () => {
    expect(await ps('/nowhere', '4194304')).toMatchObject({
      code: 1,
      stdout: '',
      stderr: 'exodos ps: there is no process 4194304\n',
    })
  })

  test.each([[[]], [['me']], [['1', '2']], [['-1']]])('%j: called wrongly', async (args) => {
    expect((await ps('/nowhere', ...args)).code).toBe(125)
  })
})
