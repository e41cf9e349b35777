import { builtin, realProcess } from './real.js'

// biome-ignore lint/suspicious/noExplicitAny: whatever Node's own functions take is passed on as it came
type AnyFunction = (...args: any[]) => any
type Patchable = 'emit' | 'exit' | 'reallyExit'

const target = realProcess as unknown as Record<Patchable, AnyFunction>

/**
 * A function of `process` in our place, put back only while it is still the outermost one.
 *
 * Others patch the same functions, call past us to what they once saw, and put that back in any order. So whenever
 * ours isn't the outermost function any more, it is put on again as a new layer, and the layers below pass through.
 * A spy of a test framework alone is never wrapped: its author wants to see the call and nothing else to happen.
 */
export class Patch {
  private ours: AnyFunction | undefined
  /** Each layer that was ever put on, with what was there before it. */
  private readonly layers = new WeakMap<AnyFunction, { inner: AnyFunction; inherited: boolean }>()

  /** `around` is called in place of the function, with what to go on with, and decides whether it does. */
  constructor(
    private readonly name: Patchable,
    private readonly around: (inner: AnyFunction, args: unknown[]) => unknown,
  ) {}

  /** Is our function the outermost one, or left aside for a spy? */
  get intact(): boolean {
    const current = target[this.name]
    return current === this.ours || isSpy(current)
  }

  /** Puts the patch on, or on again. Returns whether anything changed. */
  install(): boolean {
    if (this.intact) return false
    this.takeOff()
    const inner = target[this.name]
    const layer = (...args: unknown[]): unknown =>
      this.ours === layer ? this.around(inner, args) : inner.apply(realProcess, args)
    this.layers.set(layer, { inner, inherited: !Object.hasOwn(target, this.name) })
    this.ours = target[this.name] = layer
    return true
  }

  /** Takes the patch off if it is outermost, else leaves a pass-through. Returns whether anything was taken off. */
  uninstall(): boolean {
    this.ours = undefined
    return this.takeOff()
  }

  /** Takes off the layers of ours that are outermost: the live one, and those that came to light when somebody's wrapper went. */
  private takeOff(): boolean {
    let changed = false
    for (let own = this.layers.get(target[this.name]); own; own = this.layers.get(target[this.name])) {
      if (own.inherited) delete (target as Partial<typeof target>)[this.name]
      else target[this.name] = own.inner
      changed = true
    }
    return changed
  }
}

function isSpy(fn: AnyFunction): boolean {
  return 'mock' in fn || 'isSinonProxy' in fn
}

/** Lets `import { exit } from 'node:process'` see what `process.exit` is now. */
export function syncImports(): void {
  builtin<typeof import('node:module')>('node:module').syncBuiltinESMExports()
}
