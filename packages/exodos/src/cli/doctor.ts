import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { Guardian } from '../guardian/guardian.js'
import { findDead } from '../guardian/recovery/claim.js'
import { type Directory, makeDirectory } from '../supervisor/directory.js'
import { freeLoop } from '../supervisor/inspector.js'
import { programEnvironment } from '../supervisor/program.js'
import { seen } from '../system/proc.js'
import { type Command, UsageError } from './usage.js'

/** What is to hold, and why it doesn't; undefined where it does. */
type Finding = readonly [what: string, why: string | undefined]

/** For the program that is tried out to start, in milliseconds. */
const START = 5000
const PATIENCE = 250

export const doctor: Command = {
  summary: 'says what holds on this machine and runtime, and what does not',
  help: `Usage: exodos doctor

Tries out what of exodos holds on this machine and runtime, and says why what doesn't. The Node that runs it, its
options, NODE_OPTIONS and the container decide, so run it as the program will be run:

  node --permission node_modules/exodos/bin/exodos.js doctor      (Node 20: --experimental-permission)

  --help

Exit status: 0 when all holds, 1 when something doesn't.`,
  options: {},
  async run({ rest }) {
    if (rest.length > 0) throw new UsageError(`doctor: takes no arguments, got ${rest.join(' ')}`)
    const inside = [runtime(), platform(), await thread(), stacks()]
    const findings = [...inside, ...(await underSupervision()), leftBehind(), zombies(), ...(await durable())]
    for (const [what, why] of findings) console.log(why === undefined ? `yes  ${what}` : `NO   ${what}\n     ${why}`)
    if (findings.some(([, why]) => why !== undefined)) process.exitCode = 1
  },
}

function runtime(): Finding {
  const { bun, deno, node } = process.versions
  const [major = 0, minor = 0] = node.split('.').map(Number)
  const isKnown = major > 20 || (major === 20 && minor >= 19)
  const what = `hooks run on every way out that ${bun ? `Bun ${bun}` : deno ? `Deno ${deno}` : `Node ${node}`} can see`
  if (bun || deno) return [what, 'not all of it: see docs/bun-and-deno.md']
  return [what, isKnown ? undefined : 'Node 20.19 or newer is needed']
}

function platform(): Finding {
  const isTested = process.platform === 'linux'
  return [`signals, on ${process.platform}`, isTested ? undefined : 'exodos is tested on Linux only; see docs/platforms.md']
}

async function thread(): Promise<Finding> {
  const what = 'the watchdog: a thread that names what hangs, and kills'
  try {
    await new Worker('', { eval: true }).terminate()
    return [what, undefined]
  } catch (error) {
    return [what, `${reason(error)} (--allow-worker permits threads)`]
  }
}

function stacks(): Finding {
  const what = 'the watchdog shows the stack where the event loop is stuck'
  if (!process.features.inspector) return [what, 'this runtime has no inspector that a thread can connect to']
  return [what, isRestricted() ? "Node's permission model keeps the inspector closed" : undefined]
}

/** A program is started that never comes back to its loop, as `exodos run` would start it. */
async function underSupervision(): Promise<Finding[]> {
  const adopting = 'exodos run: Node programs are adopted without a change to them'
  const freeing = 'exodos run: a blocked event loop is freed'
  let directory: Directory | undefined
  try {
    directory = makeDirectory()
    const gifts = { directory: directory.path, grace: undefined, wantsReports: false }
    const child = spawn(process.execPath, [...process.execArgv, '-e', 'for (;;);'], {
      stdio: 'ignore',
      env: programEnvironment(gifts),
    })
    const ended = once(child, 'exit')
    try {
      await once(child, 'spawn')
      const end = performance.now() + START
      while (directory.programs().length === 0 && performance.now() < end && child.exitCode === null) await sleep(20)
      const [program] = directory.programs()
      if (!program)
        return [
          [adopting, 'a program started with NODE_OPTIONS=--import=… did not get it'],
          [freeing, 'it is not adopted'],
        ]
      if (!program.inspector)
        return [
          [adopting, undefined],
          [freeing, closed()],
        ]
      const found = await freeLoop(
        program.pid,
        program.inspector,
        PATIENCE,
        () => child.kill('SIGUSR1'),
        () => true,
      )
      const isFreed = found.state === 'blocked' && found.freed
      return [
        [adopting, undefined],
        [freeing, isFreed ? undefined : 'the inspector of a program that was stuck did not open'],
      ]
    } finally {
      child.kill('SIGKILL')
      await ended
    }
  } catch (error) {
    return [
      [adopting, reason(error)],
      [freeing, reason(error)],
    ]
  } finally {
    try {
      directory?.remove()
    } catch {
      // Where files may not be written it isn't there.
    }
  }
}

function closed(): string {
  if (isRestricted()) return "Node's permission model keeps the inspector closed"
  if (process.platform === 'win32') return 'Windows has no signal that opens the inspector'
  return 'SIGUSR1 does not open the inspector here (--disable-sigusr1)'
}

function leftBehind(): Finding {
  const what = 'exodos run: what a program leaves in its process group is found'
  return [what, seen(process.pid) ? undefined : 'there is no /proc to find it in, or it may not be read']
}

function zombies(): Finding {
  const what = 'orphans that end are collected'
  return [
    what,
    process.pid === 1 ? 'this is PID 1, and Node collects only its own children: docker run --init, or tini' : undefined,
  ]
}

/** Looks only: what is left to be done, and said, stays for `exodos recover`. */
async function durable(): Promise<Finding[]> {
  const { guarded, stateDir, reason, failed } = new Guardian({ recovers: false }).status()
  const dead = stateDir ? (await findDead(stateDir)).length : 0
  return [
    [`exodos/durable: records are kept${stateDir ? ` in ${stateDir}` : ''}`, stateDir ? undefined : reason],
    ['exodos/durable: a guardian cleans up after SIGKILL and crashes', guarded ? undefined : reason],
    [
      'exodos/durable: nothing was left behind',
      dead + failed === 0
        ? undefined
        : `programs that died with something left to be done: ${dead}; of which something failed, or was left alone: ${failed}; exodos recover does it, and tells`,
    ],
  ]
}

function isRestricted(): boolean {
  return 'permission' in process
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
