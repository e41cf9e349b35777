// A cache of pages, each with a file. The file goes when nobody holds the page any more, when the page is closed, or when
// the process leaves, whichever is first.
//
//   node main.mjs
import { mkdtempSync, readdirSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { onExit } from 'exodos'
import { PageCache } from './cache.mjs'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

const dir = mkdtempSync(join(tmpdir(), 'exodos-cache-'))
const show = (when) => console.log(`${when}: ${readdirSync(dir).join(' ') || 'no files'}`)
// Registered first, so it comes last: the directory is empty by then.
onExit(() => {
  show('at exit')
  rmdirSync(dir)
})

const cache = new PageCache(dir)
const held = cache.open('held')
const closed = cache.open('closed')
useForAMoment('forgotten')
show('opened')

closed.close()
show('one closed')

for (let i = 0; i < 10 && readdirSync(dir).length > 1; i++) {
  await wait(20)
  collectGarbage()
}
show('one collected')
console.log(cache.open('held') === held ? 'still shared' : 'opened twice')

function useForAMoment(key) {
  cache.open(key)
}
