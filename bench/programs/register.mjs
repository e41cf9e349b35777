// Prints the nanoseconds that registering and cancelling a hook takes while `live` others are registered.
const [name, live] = process.argv.slice(2)
const COUNT = 40
const CHUNK_MS = 5

let _counter = 0
const anonymous = (onExit) => () =>
  onExit(() => {
    _counter++
  })
const makers = {
  async 'exodos, named'() {
    const { onExit } = await import('exodos')
    return () => {
      const hook = () => {
        _counter++
      }
      return onExit(hook)
    }
  },
  'exodos, anonymous': async () => anonymous((await import('exodos')).onExit),
  'signal-exit': async () => anonymous((await import('signal-exit')).onExit),
  'exit-hook': async () => anonymous((await import('exit-hook')).default),
}
const register = await makers[name]()
for (let i = 0; i < Number(live); i++) register()

function time(times) {
  const begin = process.hrtime.bigint()
  for (let i = 0; i < times; i++) register()()
  return Number(process.hrtime.bigint() - begin)
}

// What is measured is compiled first; a chunk is as many calls as fit into a few milliseconds, one call if it is a slow one.
const warm = performance.now() + 300
let times = 1
while (performance.now() < warm) {
  if (time(times) < CHUNK_MS * 1e6) times *= 2
}
const chunks = Array.from({ length: COUNT }, () => time(times) / times).sort((a, b) => a - b)
console.log(chunks[COUNT / 2])
