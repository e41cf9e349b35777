import { type ChildProcess, type SendHandle, type Serializable, type StdioOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { MARKS } from './directory.js'

/** A program that couldn't be started; `status` is what shells exit with for it. */
export class StartError extends Error {
  constructor(
    message: string,
    readonly status: 126 | 127,
  ) {
    super(message)
  }
}

/** What `exodos run` gives a program besides its own environment. */
export interface Gifts {
  /** Where programs say how they are. */
  readonly directory: string
  readonly grace: string | undefined
  readonly wantsReports: boolean
}

/** Starts the program in our place: our terminal, streams, process group and channel to the parent. Rejects with `StartError`. */
export async function startProgram(command: string, args: readonly string[], gifts: Gifts): Promise<ChildProcess> {
  const stdio: StdioOptions = process.channel ? ['inherit', 'inherit', 'inherit', 'ipc'] : 'inherit'
  const env = programEnvironment(gifts)
  if (isRestricted(args)) env.NODE_OPTIONS = process.env.NODE_OPTIONS
  const child = spawn(command, args, { stdio, env })
  if (process.channel) joinChannels(child)
  try {
    await once(child, 'spawn')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new StartError(`${command}: not found`, 127)
    throw new StartError(`${command}: can't be executed (${code})`, 126)
  }
  return child
}

/** Node's permission model lets a program read only what it was told of, which our preload isn't: it runs as it would without us. */
function isRestricted(args: readonly string[]): boolean {
  return [...args, process.env.NODE_OPTIONS ?? ''].some((text) => /(^|\s)--(experimental-)?permission(\s|$)/.test(text))
}

/** The channel may close at any moment, and who listens is not our business. */
const ignore = () => {}

/** Whoever has forked us talks to the program, and the program to them. */
function joinChannels(child: ChildProcess): void {
  child.on('message', (message, handle) => process.send?.(message, handle, undefined, ignore))
  child.on('disconnect', () => process.connected && process.disconnect())
  process.on('message', (message: Serializable, handle?: SendHandle) => child.send(message, handle, ignore))
  process.on('disconnect', () => child.connected && child.disconnect())
}

/** Our own environment, and what makes Node programs ours. */
export function programEnvironment({ directory, grace, wantsReports }: Gifts): NodeJS.ProcessEnv {
  return {
    ...process.env,
    NODE_OPTIONS: nodeOptions(process.env.NODE_OPTIONS),
    EXODOS_RUN: directory,
    [MARKS]: [process.env[MARKS], directory].filter(Boolean).join(':'),
    EXODOS_RUN_REPORT: wantsReports ? '1' : undefined,
    ...(grace !== undefined && { EXODOS_GRACE: grace }),
  }
}

/** Ours come first, so that what the user has set wins. */
function nodeOptions(theirs = ''): string {
  const preload = quoted(`--require=${fileURLToPath(new URL('../../bin/preload.cjs', import.meta.url))}`)
  if (theirs.includes(preload)) return theirs
  return [
    preload,
    // Ending what a timer or an immediate is stuck in is taken for corruption otherwise.
    '--no-force-async-hooks-checks',
    // The inspector that looks into a blocked loop needs no advertisement on stderr.
    '--inspect-publish-uid=http',
    theirs,
  ]
    .join(' ')
    .trim()
}

/** As Node reads the entries of NODE_OPTIONS. */
function quoted(option: string): string {
  return /[\s"\\]/.test(option) ? `"${option.replace(/["\\]/g, '\\$&')}"` : option
}
