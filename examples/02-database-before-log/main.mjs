// The log is opened after the database, because its level is a setting in there. Newest first would close it before the
// database, whose last lines would be lost. One word mends that: `after`. Neither module knows of the other.
//
//   node main.mjs
//   node main.mjs --newest-first     without it
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onExit } from 'exodos'
import { openDatabase } from './database.mjs'
import { openLog } from './log.mjs'

const dir = mkdtempSync(join(tmpdir(), 'exodos-log-'))
onExit(
  () => {
    console.log(readFileSync(join(dir, 'app.log'), 'utf8').trimEnd())
    rmSync(dir, { recursive: true })
  },
  { name: 'directory' },
)

const database = await openDatabase(join(dir, 'data.json'))
const log = await openLog(join(dir, 'app.log'), process.argv.includes('--newest-first') ? {} : { after: 'database' })
database.on('did', (what) => log.write(`database: ${what}`))

log.write('started')
database.insert({ id: 1 })
database.insert({ id: 2 })
