// Prints the MiB a process holds that has loaded the program named and then done nothing for a while.
import { setTimeout } from 'node:timers/promises'

await import(`./${process.argv[2]}.mjs`)
await setTimeout(200)
console.log(process.memoryUsage.rss() / 2 ** 20)
