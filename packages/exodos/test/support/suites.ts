import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const packageDir = fileURLToPath(new URL('../..', import.meta.url))

/** A consumer's project that has exodos installed. */
export function makeProject(files: Record<string, string>): { dir: string; remove(): void } {
  const dir = mkdtempSync(join(tmpdir(), 'exodos-consumer-'))
  const installed = join(dir, 'node_modules/exodos')
  mkdirSync(installed, { recursive: true })
  cpSync(join(packageDir, 'dist'), join(installed, 'dist'), { recursive: true })
  writeFileSync(join(installed, 'package.json'), readFileSync(join(packageDir, 'package.json')))
  writeFileSync(join(dir, 'package.json'), JSON.stringify({ name: 'consumer', type: 'module', private: true }))
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, name)), { recursive: true })
    writeFileSync(join(dir, name), text)
  }
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

/** What a consumer's suites do with exits, in a framework whose object of mocks is `mocks` (`jest`, `vi`). */
export function suites(mocks: string, imports: string): Record<string, string> {
  return {
    'listeners.test.js': `${imports}
      import { runInThisContext } from 'node:vm'
      // Jest gives each test file a copy of its own, also as node:process.
      const real = runInThisContext('process')
      const signals = ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGQUIT', 'SIGALRM', 'SIGUSR2']
      const errors = ['uncaughtException', 'uncaughtExceptionMonitor', 'unhandledRejection']
      const others = ['exit', 'beforeExit', 'message', 'disconnect', ...errors]
      const look = () => [
        [...signals, ...others].map((event) => [event, process.listenerCount(event), real.listenerCount(event)]),
        ['exit', 'reallyExit', 'emit'].map((name) => [process[name], real[name], Object.hasOwn(real, name)]),
      ]

      test('the last hook takes everything with it', async () => {
        const before = look()
        const { onExit, track } = await import('exodos')
        const { onExit: onGuestExit } = await import('exodos/lib')
        const { register, clear } = await import('exodos/atexit')
        expect(look()).toEqual(before)
        const off = onExit(async () => {})
        const offGuest = onGuestExit(() => {})
        register(() => {})
        expect(look()).not.toEqual(before)
        await track(Promise.resolve(1))
        off()
        clear()
        expect(look()).not.toEqual(before)
        offGuest()
        expect(look()).toEqual(before)
      })

      test('an explicit run leaves nothing behind', async () => {
        const before = look()
        const { onExit, runExitHooks } = await import('exodos')
        onExit(async () => {})
        await runExitHooks()
        expect(look()).toEqual(before)
      })

      test('a private registry of exodos/testing installs nothing', async () => {
        const before = look()
        const { isolateExits } = await import('exodos/testing')
        const { onExit } = await import('exodos')
        const exits = isolateExits()
        let called = 0
        onExit(async () => { called++ })
        expect(look()).toEqual(before)
        await exits.run({ signal: 'SIGTERM' })
        expect(called).toBe(1)
        exits.restore()
        expect(look()).toEqual(before)
      })
    `,
    'spies.test.js': `${imports}
      import { exit, onExit, runExitHooks } from 'exodos'
      const original = process.exit
      const off = new Set()
      const hook = (fn) => off.add(onExit(fn))
      afterEach(() => {
        for (const cancel of off) cancel()
        off.clear()
        ${mocks}.restoreAllMocks()
      })
      const spyOnExit = (fn = () => {}) => ${mocks}.spyOn(process, 'exit').mockImplementation(fn)

      const moments = [['before', true], ['after', false]]

      test.each(moments)('hooks registered %s the spy: it is called once, and can be restored', async (_, first) => {
        let called = 0
        const register = () => { hook(() => { called++ }); hook(async () => { called++ }) }
        if (first) register()
        const seen = process.exit
        const spy = spyOnExit()
        if (!first) register()
        process.exit(3)
        expect(spy.mock.calls).toEqual([[3]])
        process.exit()
        expect(spy.mock.calls).toEqual([[3], []])
        expect(called).toBe(0)
        spy.mockRestore()
        expect(process.exit).toBe(seen)
        await runExitHooks()
        expect(called).toBe(2)
        expect(process.exit).toBe(original)
      })

      test.each(moments)('exit() of exodos, hooks registered %s the spy: it is called once, after them', async (_, first) => {
        const order = []
        const register = () => { hook(() => { order.push('sync') }); hook(async () => { await null; order.push('async') }) }
        if (first) register()
        let told
        const exited = new Promise((resolve) => { told = resolve })
        const spy = spyOnExit((code) => { order.push('exit ' + code); told() })
        if (!first) register()
        exit(4)
        await exited
        expect(order).toEqual(['async', 'sync', 'exit 4'])
        expect(spy.mock.calls).toEqual([[4]])
        spy.mockRestore()
        // The process has survived: a new life begins.
        hook(() => { order.push('new') })
        await runExitHooks()
        expect(order).toHaveLength(4)
        expect(process.exit).toBe(original)
      })

      test('a spy that throws: its error reaches the caller of process.exit', () => {
        hook(async () => {})
        const spy = spyOnExit((code) => { throw new Error('exit ' + code) })
        expect(() => process.exit(5)).toThrow('exit 5')
        expect(spy.mock.calls).toEqual([[5]])
        spy.mockRestore()
      })

      test.each([['synchronous', () => {}], ['asynchronous', async () => { await null }]])(
        'a spy that throws: exit() of exodos rejects with its error, %s hooks', async (_, fn) => {
          hook(fn)
          const spy = spyOnExit((code) => { throw new Error('exit ' + code) })
          await expect((async () => exit(6))()).rejects.toThrow('exit 6')
          expect(spy.mock.calls).toEqual([[6]])
          spy.mockRestore()
        })

      test('${mocks}.restoreAllMocks() with hooks registered in between leaves the hooks alive', async () => {
        spyOnExit()
        let called = 0
        hook(() => { called++ })
        ${mocks}.restoreAllMocks()
        hook(() => { called++ })
        await runExitHooks()
        expect(called).toBe(2)
        expect(process.exit).toBe(original)
      })

      test('spies on process.on see no listener of ours after the last hook is gone', () => {
        const before = process.listenerCount('SIGTERM')
        const spy = ${mocks}.spyOn(process, 'on')
        const cancel = onExit(() => {})
        spy.mockRestore()
        cancel()
        expect(process.listenerCount('SIGTERM')).toBe(before)
      })

      // The last one: restoring all mocks puts the replacement back.
      test('a spy that calls through to another replacement', () => {
        const codes = []
        process.exit = (code) => { codes.push(code) }
        const spy = ${mocks}.spyOn(process, 'exit')
        hook(async () => {})
        process.exit(7)
        expect(codes).toEqual([7])
        spy.mockRestore()
        process.exit = original
      })
    `,
    ...Object.fromEntries(
      ['before', 'after'].map((when) => [
        `timers-${when}.test.js`,
        `${imports}
        import { readFile } from 'node:fs/promises'
        afterEach(() => ${mocks}.useRealTimers())

        test('timers faked ${when} the import do not freeze a run', async () => {
          ${when === 'before' ? `${mocks}.useFakeTimers()` : ''}
          const { configure, onExit, runExitHooks, track } = await import('exodos')
          ${when === 'after' ? `${mocks}.useFakeTimers()` : ''}
          configure({ grace: 400 })
          const done = []
          const work = () => readFile(new URL(import.meta.url).pathname)
          onExit(() => { done.push('last') }, { name: 'last' })
          onExit(() => new Promise(() => {}), { name: 'hanging' })
          onExit(async () => { await work(); done.push('read') }, { name: 'reads' })
          onExit(async () => {
            await work()
            onExit(() => { done.push('late') }, { name: 'late' })
          }, { name: 'registers' })
          track(work())
          const report = await runExitHooks()
          expect(report.hooks.map((hook) => hook.name + ' ' + hook.status)).toEqual([
            'tracked work ok', 'registers ok', 'late ok', 'reads ok', 'hanging overdue', 'last ok',
          ])
          expect(done).toEqual(['late', 'read', 'last'])
          expect(report.duration).toBeGreaterThan(100)
        })
      `,
      ]),
    ),
  }
}
