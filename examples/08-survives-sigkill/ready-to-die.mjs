// What the two programs share: they say what they have made, and die in the way that they are told to.
const ways = {
  'heap out of memory': () => {
    for (const all = []; ; ) all.push(new Array(100_000).fill(all.length))
  },
  'process.abort()': () => process.abort(),
  SIGSEGV: () => process.kill(process.pid, 'SIGSEGV'),
}

export function readyToDie(made) {
  console.log(JSON.stringify(made))
  process.stdin.once('data', (way) => ways[way]())
}
