// The list of what a thread has made. Its lines are kept until it is closed: one that is never closed stays empty.
import { writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'

export function openCatalogue(path) {
  const lines = []
  const text = () => [...lines, 'closed', ''].join('\n')
  writeFileSync(path, '')
  return {
    add: (line) => lines.push(line),
    close: () => writeFile(path, text()),
    closeSync: () => writeFileSync(path, text()),
  }
}
