// Prints the nanoseconds that a scope with three members takes, from its making to its end.
import { onExit, scope } from 'exodos'

const [name] = process.argv.slice(2)
const COUNT = 60
const CHUNK_MS = 5

class Resource {
  async [Symbol.asyncDispose]() {}
}
const makers = {
  async exodos() {
    const owner = scope()
    owner.use(new Resource())
    owner.use(new Resource())
    owner.use(new Resource())
    await owner.disposeAsync()
  },
  async native() {
    const owner = new AsyncDisposableStack()
    owner.use(new Resource())
    owner.use(new Resource())
    owner.use(new Resource())
    await owner.disposeAsync()
  },
  async 'try/finally'() {
    const a = new Resource()
    try {
      const b = new Resource()
      try {
        const c = new Resource()
        await c[Symbol.asyncDispose]()
      } finally {
        await b[Symbol.asyncDispose]()
      }
    } finally {
      await a[Symbol.asyncDispose]()
    }
  },
}
// An application has other hooks.
onExit(() => {}, { name: 'app' })

async function time(times) {
  const begin = process.hrtime.bigint()
  for (let i = 0; i < times; i++) await makers[name]()
  return Number(process.hrtime.bigint() - begin)
}

const warm = performance.now() + 300
let times = 1
while (performance.now() < warm) {
  if ((await time(times)) < CHUNK_MS * 1e6) times *= 2
}
const chunks = []
for (let i = 0; i < COUNT; i++) chunks.push((await time(times)) / times)
console.log(chunks.sort((a, b) => a - b)[COUNT / 2])
