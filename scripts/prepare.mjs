// Brings a bare clone to where its programs run: dependencies installed, packages built. Needs Node and npm alone.
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = new URL('../', import.meta.url)
const at = (path) => new URL(path, root)
const readJson = (path) => JSON.parse(readFileSync(at(path), 'utf8'))

/** Installs and builds what is missing or older than its sources; a few milliseconds when nothing is. */
export function prepare() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) throw new Error(`Node 20.19 or newer is needed, this is ${process.version}`)
  install()
  build()
}

/** Runs `npm ci` unless node_modules holds just what package-lock.json asks for. */
export function install() {
  // Dev dependencies are what the programs here are made of, also where NODE_ENV says production.
  if (!isInstalled()) npm('ci', '--include=dev', '--no-audit', '--no-fund')
}

/** Runs `npm run build` when a package's dist is missing or older than its sources. */
export function build() {
  if (!packages().every(isBuilt)) npm('run', 'build')
}

function isInstalled() {
  // What npm notes down of an installation: written last, so an interrupted one has none.
  if (!existsSync(at('node_modules/.package-lock.json'))) return false
  const installed = readJson('node_modules/.package-lock.json').packages
  return Object.entries(readJson('package-lock.json').packages).every(([path, wanted]) => {
    if (!path.includes('node_modules/')) return true
    const found = installed[path]
    // An optional one may be for another platform.
    return found ? found.version === wanted.version && found.integrity === wanted.integrity : wanted.optional === true
  })
}

function packages() {
  return readdirSync(at('packages'))
    .map((name) => `packages/${name}/`)
    .filter((path) => existsSync(at(`${path}src`)))
}

function isBuilt(path) {
  const main = at(path + readJson(`${path}package.json`).exports['.'].default.slice(2))
  if (!existsSync(main)) return false
  const sources = readdirSync(at(`${path}src`), { recursive: true }).map((name) => `src/${name}`)
  const built = statSync(main).mtimeMs
  return [...sources, 'package.json', 'tsconfig.json', 'build.mjs', 'bundle-source.mjs']
    .map((name) => at(path + name))
    .every((source) => !existsSync(source) || statSync(source).mtimeMs <= built)
}

function npm(...args) {
  console.log(`> npm ${args.join(' ')}`)
  // On Windows npm is a script of the shell.
  const shell = process.platform === 'win32'
  const { status, error } = spawnSync('npm', args, { cwd: fileURLToPath(root), stdio: 'inherit', shell })
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed`, { cause: error })
}
