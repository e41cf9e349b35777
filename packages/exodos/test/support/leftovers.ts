import { readdirSync, readFileSync, rmSync } from 'node:fs'

const MARK = 'EXODOS_TEST_SUITE'

/** Around the whole suite: fails it when a test left a process or a file behind. */
export default function setup(): () => Promise<void> {
  const mark = `${process.pid}-${Date.now()}`
  process.env[MARK] = mark
  const run = new URL(`../.run/${mark}/`, import.meta.url)
  return async () => {
    let processes = processesWith(`${MARK}=${mark}`, run.pathname)
    // What belonged to a worker of the runner, as a bundler's service, ends a moment after it.
    for (const end = performance.now() + 3000; processes.length > 0 && performance.now() < end; ) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      processes = processesWith(`${MARK}=${mark}`, run.pathname)
    }
    const left = [...processes, ...filesIn(run)]
    rmSync(run, { recursive: true, force: true })
    if (left.length > 0) throw new Error(`left behind by tests:\n${left.join('\n')}`)
  }
}

/** By their environment; guardians, which don't get it, by the state directory that they are told. */
function processesWith(text: string, dir: string): string[] {
  const found: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const env = readFileSync(`/proc/${pid}/environ`, 'utf8')
      const parent = /^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const isOurs = Number(pid) === process.pid || Number(parent) === process.pid
      if ((env.includes(text) || command.includes(dir)) && !isOurs) found.push(`process ${pid}: ${command.slice(-300)}`)
    } catch {
      // Gone meanwhile, or a kernel thread.
    }
  }
  return found
}

function filesIn(dir: URL): string[] {
  try {
    return readdirSync(dir).map((name) => `file ${name}`)
  } catch {
    return []
  }
}
