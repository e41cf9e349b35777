import { wordsFor } from '../guardian/records/action.js'
import { findStateDir } from '../guardian/records/state-dir.js'
import { recover as doWhatIsLeft, wouldRecover } from '../guardian/recovery/claim.js'
import { type Command, UsageError } from './usage.js'

export const recover: Command = {
  summary: 'does what programs that were killed have left to be done',
  help: `Usage: exodos recover [--dry-run]

Does what dead programs of this user have written down with exodos/durable, exodos/temp or exodos/lock and could not
do, and tries once more what had failed. The next program that makes such a record does the same by itself, but for
what had failed for good; and this tells what was left alone, once, and why. Programs that run are never touched.

  --dry-run   only say what would be done
  --help

Records are kept in $EXODOS_STATE_DIR, else in exodos under $XDG_STATE_HOME or ~/.local/state, else in the directory
for temporary files.

Exit status: 0, or 1 when something could not be done; it is kept for the next time.`,
  options: { 'dry-run': 'flag' },
  async run({ values, rest }) {
    if (rest.length > 0) throw new UsageError(`recover: takes no arguments, got ${rest.join(' ')}`)
    const found = findStateDir(undefined, false)
    if ('reason' in found && /ENOENT$/.test(found.reason)) return console.log('nothing is left to be done: there are no records')
    if ('reason' in found) throw new UsageError(`recover: there is no directory for records: ${found.reason}`)
    const isDry = 'dry-run' in values
    const { done, left, failed } = await (isDry ? wouldRecover : doWhatIsLeft)(found.path)
    for (const action of done) console.log(`${isDry ? 'would ' : 'done  '}${wordsFor(action)}`)
    for (const { action, reason } of left) console.log(`left  ${wordsFor(action)}\n      ${reason}`)
    for (const { action, error } of failed) console.log(`FAIL  ${wordsFor(action)}\n      ${error}`)
    if (done.length + left.length + failed.length === 0) console.log(`nothing is left to be done in ${found.path}`)
    if (failed.length > 0) process.exitCode = 1
  },
}
