// Imports the modules in the order given.
//
//   node app.mjs [MODULE …]
import { explain } from 'exodos'

const order = process.argv.slice(2)
for (const name of order.length > 0 ? order : ['server', 'cache', 'database', 'metrics', 'log']) await import(`./${name}.mjs`)

console.log(explain().text)
