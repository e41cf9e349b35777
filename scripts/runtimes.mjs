// Runs the tests of Bun and Deno: `npm run test:runtimes`. Both come as npm packages that carry the binary.
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { prepare } from './prepare.mjs'

const dir = resolve('node_modules/.cache/runtimes')
const missing = ['bun', 'deno'].filter((name) => !existsSync(join(dir, 'node_modules/.bin', name)))
if (missing.length > 0) {
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'package.json'), '{ "private": true }')
  console.log(`installing ${missing.join(' and ')}`)
  execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', 'bun', 'deno'], { cwd: dir, stdio: 'inherit' })
}
prepare()
const { status } = spawnSync('npx', ['vitest', 'run', 'packages/exodos/test/runtimes.test.ts'], { stdio: 'inherit' })
process.exit(status ?? 1)
