// The compiler of somebody else: it knows nothing of exodos, compiles what changes, and has a process of its own beside it,
// as those have that are written in another language.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, watch, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const [from, to] = process.argv.slice(2)

spawn('sleep', ['600'], { stdio: 'ignore' })
compile()
watch(from, compile)

function compile() {
  const pages = readdirSync(from)
  for (const page of pages) {
    const html = readFileSync(join(from, page), 'utf8').replaceAll(/^# (.*)$/gm, '<h1>$1</h1>')
    writeFileSync(join(to, page.replace(/md$/, 'html')), html)
  }
  console.log(`compiler: ${pages.length} page compiled`)
}
