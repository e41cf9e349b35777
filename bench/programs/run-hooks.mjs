// Prints the milliseconds that calling 100,000 functions once takes: as hooks, or in a bare loop.
import { onExit, runExitHooks } from 'exodos'

const kind = process.argv[2]
let counter = 0
const hooks = Array.from({ length: 100_000 }, (_, i) => {
  const hook = () => {
    counter += i
  }
  return hook
})

function bareLoop() {
  let failed = 0
  for (const hook of hooks) {
    try {
      hook()
    } catch {
      failed++
    }
  }
  return failed
}

if (kind !== 'bare') for (const hook of hooks) onExit(hook, kind === 'sync' ? { sync: true } : undefined)
const begin = process.hrtime.bigint()
if (kind === 'bare') bareLoop()
else await runExitHooks()
const end = process.hrtime.bigint()
if (counter !== (100_000 * 99_999) / 2) throw new Error(`the hooks have not all run: ${counter}`)
console.log(Number(end - begin) / 1e6)
