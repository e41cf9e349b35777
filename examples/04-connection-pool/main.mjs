// Ten connections, each of which takes 100 ms to close, are closed in little more than 100 ms.
//
//   node main.mjs
import { configure, explain } from 'exodos'
import { Pool } from './pool.mjs'

configure({
  report({ hooks }) {
    const took = Math.max(...hooks.map(({ end }) => end)) - Math.min(...hooks.map(({ begin }) => begin))
    console.log(`${hooks.length} connections of ${hooks[0].scope}: ${took.toFixed(0)} ms, in a row ${hooks.length * 100} ms`)
  },
})

const pool = new Pool({ name: 'pool', timeout: '2s' })
const query = (count) => Promise.all(Array.from({ length: count }, (_, i) => pool.run(`select ${i}`)))

await query(3)
await pool.shrink()
await query(10)
console.log(explain().text)
