// Start to first result, in milliseconds from where the program begins: `start.mjs LIBRARY ENGINE SERIALIZATION`.
const began = performance.now()
const [library, engine, serialization] = process.argv.slice(2)
const { make } = await import(`./${library}.mjs`)
const pool = make({ engine, size: 1, serialization })
await pool.run('noop')
console.log(JSON.stringify(performance.now() - began))
await pool.end()
process.exit()
