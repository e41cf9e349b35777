import { parseDuration } from '../core/deadline.js'
import { defaultPolicy } from '../process/policy.js'
import { leaveAs } from '../supervisor/leave-as.js'
import { StartError } from '../supervisor/program.js'
import { supervise } from '../supervisor/supervise.js'
import { type Command, UsageError } from './usage.js'

export const run: Command = {
  summary: 'runs a program and sees to it that it ends well',
  help: `Usage: exodos run [options] [--] command [arguments]

Runs any program in the foreground. Signals are passed on to it; it is given time to shut down; a blocked event loop of
a Node program is freed, so that its shutdown can happen; what remains is killed. Node programs get exodos/register.

  --grace DURATION       for the program's own shutdown, after a signal: 500ms, 10s, 1m
                         default 10s, or EXODOS_GRACE, or longer if the program itself says so
  --kill-after DURATION  after that, before SIGKILL; default 5s, under another exodos run 2s
  --report FILE          writes what happened, as JSON
  --help

Exit status: the program's own. It ends by the signal that the program ended by; as PID 1 with 128 + its number.
  125  exodos itself was called wrongly
  126  the command can't be executed
  127  the command was not found`,
  options: { grace: 'value', 'kill-after': 'value', report: 'value' },
  async run({ values, rest }) {
    const [command, ...args] = rest
    if (command === undefined) throw new UsageError('run: no command is given, as in: exodos run -- node app.js')
    const { grace, report } = values
    // Limits are strictly ordered: the outer one must not be there first.
    const killAfter = values['kill-after'] ?? (process.env.EXODOS_RUN ? '2s' : '5s')
    const ended = await supervise(command, args, {
      grace: grace === undefined ? defaultPolicy().grace : duration(grace, '--grace'),
      isGraceFixed: grace !== undefined,
      killAfter: duration(killAfter, '--kill-after'),
      report,
    }).catch((error) => {
      if (!(error instanceof StartError)) throw error
      console.error(`exodos run: ${error.message}`)
      return { code: error.status, signal: null }
    })
    leaveAs(ended)
  },
}

/** With its unit: other commands mean seconds by a bare number, our API milliseconds. */
function duration(text: string, option: string): number {
  try {
    return parseDuration(text, option)
  } catch {
    throw new UsageError(`run: ${option}: expected a number with its unit, such as 500ms, 10s, 1m, got ${text}`)
  }
}
