import type { Trigger, WayOut } from './coordinator.js'
import { emitPatch, interceptors } from './emit.js'
import { countRequest, ExitRequest, leaveDomains } from './exit-request.js'
import { Patch, syncImports } from './patch.js'
import { isExiting, listenOnce, realProcess } from './real.js'

/** Node's own functions, as they are at the moment: ours, or what somebody has wrapped around ours. */
const target = realProcess as unknown as { reallyExit(code: number): void }

/** How the process is ended by ourselves, past our own patches, and whether these are still in place. */
export interface ExitByHand extends Trigger {
  exit(code: number): void
  reallyExit(code: number): void
  intact(): boolean
}

/** The three ways in which an exit by hand is seen: `process.exit`, `process.reallyExit` and the 'exit' event. */
export function processExit(out: WayOut): ExitByHand {
  let passing = false
  let seen = false

  const exit: Patch = new Patch('exit', (inner, args) => {
    const inHook = out.call !== undefined
    // Nothing may be thrown during 'exit', but inside a hook: that is caught by the run itself.
    const left = passing || (isExiting() && !inHook)
    if (left || !out.host || out.idle || out.policy.processExit === 'cut') return inner.apply(realProcess, args)
    const code = checkCode(args)
    out.leave({ kind: 'exit', code })
    // Left without hooks to wait for, and back again: somebody has replaced the real exit.
    if (!out.leaving) return undefined
    if (!countRequest()) {
      out.cut({ kind: 'exit', code })
      return pass('exit', out.code)
    }
    leaveDomains()
    // The request must be met on its way up, so our emit has to be the outermost one.
    emitPatch.install()
    throw new ExitRequest(code)
  })

  /** Node's setter of `exitCode` is the check of the argument, and throws Node's error; `exit(undefined)` and `exit()` differ. */
  function checkCode(args: unknown[]): number {
    const before = realProcess.exitCode
    if (args.length > 0) realProcess.exitCode = args[0] as number
    const code = Number(realProcess.exitCode ?? 0)
    realProcess.exitCode = before
    return code
  }

  const reallyExit = new Patch('reallyExit', (inner, args) => {
    const asked = Number(args[0] ?? 0)
    if (!passing) out.cut({ kind: 'exit', code: asked })
    // A code that was decided is not changed by an 'exit' listener; 0 may still become a failure there.
    return inner.call(realProcess, out.leaving ? out.asked || asked || out.code : asked)
  })

  /** Called by Node, and once more by our own emit, in case a listener before it has thrown. */
  const onExit = (code: number) => {
    if (seen) return
    seen = true
    out.cut({ kind: 'exit', code })
    if (out.host && out.leaving && code === 0 && out.code !== 0) realProcess.exitCode = out.code
  }

  function pass(name: 'exit' | 'reallyExit', code: number): void {
    passing = true
    try {
      // Where a test framework gives each file a process object of its own, `exit` is that one's, which tests spy on.
      if (name === 'exit') globalThis.process.exit(code)
      else target.reallyExit(code)
    } finally {
      passing = false
    }
  }

  return {
    exit: (code) => pass('exit', code),
    reallyExit: (code) => pass('reallyExit', code),
    intact: () => realProcess.listenerCount('exit') > 0 && (!out.host || (exit.intact && reallyExit.intact && emitPatch.intact)),
    install() {
      listenOnce('exit', onExit)
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
      seen = false
      interceptors.delete('exit')
      emitPatch.uninstall()
      const changed = [exit.uninstall(), reallyExit.uninstall()]
      if (changed.includes(true)) syncImports()
    },
  }
}
