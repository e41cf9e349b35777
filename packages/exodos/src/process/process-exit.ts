import { currentCall } from './context.js'
import type { Trigger, WayOut } from './coordinator.js'
import { emitPatch, interceptors } from './emit.js'
import { countRequest, ExitRequest, leaveDomains } from './exit-request.js'
import { Patch, syncImports } from './patch.js'
import { realProcess } from './real.js'

type ExitCode = number | string | null | undefined

/** The three ways in which an exit by hand is seen: `process.exit`, `process.reallyExit` and the 'exit' event. */
export function processExit(out: WayOut): Trigger & { exit(code: number): void; reallyExit(code: number): void; intact(): boolean } {
  const isExiting = () => (realProcess as unknown as { _exiting?: boolean })._exiting === true
  let passing = false
  let listening = false

  const exit = new Patch('exit', (inner, args) => {
    const pass = () => inner.apply(realProcess, args)
    const inHook = out.running && currentCall() !== undefined
    // Nothing may be thrown during 'exit', but inside a hook: that is caught by the run itself.
    if (passing || (isExiting() && !inHook) || !out.host || out.policy.processExit === 'cut') return pass()
    const before = realProcess.exitCode
    // Node's setter is the check of the argument; `exit(undefined)` and `exit()` differ.
    if (args.length > 0) realProcess.exitCode = args[0] as number
    const code = Number(realProcess.exitCode ?? 0)
    if (out.running) realProcess.exitCode = before
    out.leave({ kind: 'exit', code })
    // Left without hooks to wait for, and back again: somebody has replaced the real exit.
    if (!out.leaving) return undefined
    if (!countRequest()) {
      out.cut({ kind: 'exit', code })
      return leaveNow(exit, out.code)
    }
    leaveDomains()
    throw new ExitRequest(code)
  })

  const reallyExit = new Patch('reallyExit', (inner, args) => {
    const asked = Number((args[0] as ExitCode) ?? 0)
    if (!passing) out.cut({ kind: 'exit', code: asked })
    return inner.call(realProcess, out.leaving && !passing ? out.code : asked)
  })

  const onExit = (code: number) => {
    out.cut({ kind: 'exit', code })
    if (out.host && out.leaving && out.code !== code) realProcess.exitCode = out.code
  }

  function leaveNow(patch: Patch, code: number): void {
    passing = true
    try {
      // The outermost function, so that whoever has wrapped ours sees this exit too.
      ;(patch === exit ? realProcess.exit : (realProcess as unknown as { reallyExit(code: number): void }).reallyExit)(code)
    } finally {
      passing = false
    }
  }

  return {
    exit: (code) => leaveNow(exit, code),
    reallyExit: (code) => leaveNow(reallyExit, code),
    intact: () => exit.intact && reallyExit.intact && emitPatch.intact,
    install() {
      if (!listening) realProcess.on('exit', onExit)
      listening = true
      if (!out.host) return
      // Another listener that throws in 'exit' skips the later ones: ours is called all the same.
      interceptors.set('exit', (next, [code]) => {
        try {
          return next()
        } finally {
          onExit(code as number)
        }
      })
      emitPatch.install()
      const changed = [exit.install(), reallyExit.install()]
      if (changed.includes(true)) syncImports()
    },
    uninstall() {
      realProcess.off('exit', onExit)
      listening = false
      interceptors.delete('exit')
      emitPatch.uninstall()
      const changed = [exit.uninstall(), reallyExit.uninstall()]
      if (changed.includes(true)) syncImports()
    },
  }
}
