import { writeSync } from 'node:fs'

/**
 * The ways in which the server comes to its end.
 *
 * - `inside`: what the program does in the handler of a request; or
 * - `signals`: what is sent to it, 700 ms apart: closer ones may be one Ctrl-C that was delivered twice
 * - `before`: what happened in the program before
 * - `registry`: how the registry answers, `ok` unless told; the cleanup that needs it can't finish otherwise
 * - `output`: bytes that the program prints last, for a reader that is slow
 * - `exit`: what the parent is to see, an exit code or a signal
 */
export const waysOut = [
  { name: 'natural end', inside: (server) => server.close(), exit: 0 },
  { name: 'process.exit(3)', inside: () => process.exit(3), exit: 3 },
  { name: 'uncaught error', inside: () => setTimeout(throwError), exit: 1 },
  { name: 'rejection', inside: () => void Promise.reject(new Error('nobody waits for this')), exit: 1 },
  { name: 'SIGINT', signals: ['SIGINT'], exit: 'SIGINT' },
  { name: 'SIGTERM', signals: ['SIGTERM'], exit: 'SIGTERM' },
  { name: 'SIGHUP', signals: ['SIGHUP'], exit: 'SIGHUP' },
  { name: 'two SIGINTs', signals: ['SIGINT', 'SIGINT'], registry: 'hangs', exit: 'SIGINT' },
  { name: 'a cleanup fails', signals: ['SIGTERM'], registry: 'fails', exit: 'SIGTERM' },
  { name: 'a cleanup hangs', signals: ['SIGTERM'], registry: 'hangs', exit: 'SIGTERM' },
  { name: 'a library exits', before: exitOnSigterm, signals: ['SIGTERM'], exit: 'SIGTERM' },
  { name: '1 MiB to print', inside: printAndExit, output: 2 ** 20, exit: 0 },
]

/**
 * What keeps the server from leaving.
 *
 * - `inside`: as above; the server is sent SIGTERM when it says that it spins
 * - `inCleanup`: what one of its cleanups does first
 * - `signal`: what is sent to it
 * - `asInit`: it is PID 1, as in a container: a signal that nobody listens for does nothing there
 * - `named`: what stderr says of it, with the place as its first group
 * - `under` and `alone`: how it ends, and with how many cleanups, under `exodos run` and with exodos alone
 */
export const hangs = [
  {
    name: 'a handler spins',
    inside: spin,
    signal: 'SIGTERM',
    named: /at spin \(.*(ways-out\.mjs:\d+)/,
    under: 'freed 6/6 SIGTERM',
    alone: 'hung 0/6',
  },
  {
    name: 'a cleanup spins',
    inCleanup: spin,
    signal: 'SIGTERM',
    named: /at spin \(.*(ways-out\.mjs:\d+)/,
    under: 'killed 4/6 SIGKILL',
    alone: 'killed 4/6 named',
  },
  {
    name: 'a cleanup hangs',
    registry: 'hangs',
    signal: 'SIGTERM',
    named: /overdue .* (deregister)/,
    under: 'ended 5/5 SIGTERM',
    alone: 'ended 5/5 named',
  },
  {
    name: "spin inside 'exit'",
    before: spinAtExit,
    inside: () => process.exit(0),
    named: /at spin \(.*(ways-out\.mjs:\d+)/,
    under: 'killed 6/6 SIGKILL',
    alone: 'killed 6/6 named',
  },
  {
    name: 'SIGTERM as PID 1',
    asInit: true,
    signal: 'SIGTERM',
    under: 'ended 6/6 143',
    alone: 'ended 6/6',
  },
]

function throwError() {
  throw new Error('a bug in a timer')
}

/** What some libraries do when they are loaded. */
function exitOnSigterm() {
  process.on('SIGTERM', () => process.exit())
}

function printAndExit() {
  process.stdout.write('.'.repeat(2 ** 20))
  process.exit(0)
}

function spin() {
  writeSync(1, 'spins\n')
  for (;;);
}

function spinAtExit() {
  process.on('exit', spin)
}
