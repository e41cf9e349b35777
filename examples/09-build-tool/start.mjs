// What both tools start, and how they come to a bad end when they are told to.
import { fileURLToPath } from 'node:url'

const here = (file) => fileURLToPath(new URL(file, import.meta.url))
const stdio = ['ignore', 'inherit', 'inherit']

/** By way of a shell, as a script of package.json. */
export function compiler(directory) {
  const words = [process.execPath, here('compiler.mjs'), here('pages'), directory].map((word) => `'${word}'`)
  return [`${words.join(' ')}; echo "compiler: it has ended"`, { shell: true, stdio }]
}

export function server(directory) {
  return [process.execPath, [here('server.mjs'), directory], { stdio }]
}

export function throwWhenTold() {
  process.stdin.once('data', () => {
    throw new Error('a mistake in the build tool')
  })
}
