/**
 * What is run in a thread, or process, of a pool: source text, so that no bundler has to find a file of ours. All else is
 * in the file of the workers, which imports this package.
 *
 * `link`: how it speaks with the pool. Its last line is given by the engine.
 */
const begin = (link: string) => `
const link = ${link}
const isServed = (each) => typeof each?.[Symbol.for('exodos.pool.serve')] === 'function'
import(link.birth.url).then((module) => {
  const definition = [module.default, module.default?.default].find(isServed)
  if (!definition) throw new TypeError('the default export of ' + link.birth.url + ': expected what defineWorker has returned')
  definition[Symbol.for('exodos.pool.serve')](link)
}).catch((error) => {
  // What pack.ts makes of an error, which can't be had here.
  const { name = 'Error', message = String(error), stack, code, cause } = error ?? {}
  const packed = { name, message, stack, props: code === undefined ? {} : { code } }
  try {
    link.post([2, cause === undefined ? packed : { ...packed, cause }])
  } catch {
    link.post([2, packed])
  }
  link.close()
})`

/** In a thread; as CommonJS or as a module, as the options of Node say. */
export const THREAD = begin(`(() => {
  const { receiveMessageOnPort, workerData } = process.getBuiltinModule('node:worker_threads')
  const { port, ...rest } = workerData
  return {
    ...rest,
    post: (message, transfer) => port.postMessage(message, transfer),
    listen: (hear) => port.on('message', hear).on('messageerror', (error) => { throw error }),
    more: () => receiveMessageOnPort(port)?.message,
    close: () => port.close(),
  }
})()`)

/** In a process, which is told its birth by the first message. */
export const PROCESS = `
const early = []
let isHeard = false
let hear = (message) => early.push(message)
let pending = 0
let done = () => {}
const start = (birth) => {${begin(`{
    birth,
    post: (message) => {
      if (!process.connected) return
      process.send([birth.key, message], () => --pending === 0 && done())
      pending++
    },
    isCut: () => {
      isHeard = true
      return !process.connected
    },
    written: () => new Promise((resolve) => {
      if (!pending || !process.connected) resolve()
      done = resolve
      process.once('disconnect', resolve)
    }),
    listen: (given) => { hear = given; for (const message of early.splice(0)) hear(message) },
    close: () => process.disconnect(),
  }`)}}
// Whoever has started it is gone, and nothing is there yet that would notice.
process.on('disconnect', () => isHeard || process.exit())
process.once('message', (birth) => {
  process.on('message', (message) => hear(message))
  start(birth)
})`
