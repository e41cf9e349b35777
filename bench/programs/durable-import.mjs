// Prints the CPU milliseconds that loading the package named takes.
// Outside the measured part: the loader's own first import(), which is the same for all.
await import('data:text/javascript,')
const before = process.cpuUsage()
await import(process.argv[2])
const { user, system } = process.cpuUsage(before)
console.log((user + system) / 1000)
