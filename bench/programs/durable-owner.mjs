// Writes down so many files, tells its parent, and waits for its end: `durable-owner.mjs WHAT COUNT DIRECTORY STATE`. WHAT is
// `tree`, one temporary directory with all of them; or `records`, a record for each.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { durable } from 'exodos/durable'
import { tempDir } from 'exodos/temp'

const [what, count, directory, state] = process.argv.slice(2)
process.env.XDG_STATE_HOME = state
let path = join(directory, 'file-0')
if (what === 'tree') path = tempDir({ parent: directory }).path
for (let i = 0; i < Number(count); i++) {
  const file = join(what === 'tree' ? path : directory, `file-${i}`)
  const record = what === 'tree' ? undefined : durable.path(file)
  writeFileSync(file, 'x')
  record?.made()
}
if (what === 'records' && Number(count) === 0) durable.status()
console.log(JSON.stringify({ path }))
setInterval(() => {}, 1 << 30)
