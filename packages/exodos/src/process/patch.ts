import { builtin, realProcess } from './real.js'

// biome-ignore lint/suspicious/noExplicitAny: whatever Node's own functions take is passed on as it came
type AnyFunction = (...args: any[]) => any
type Patchable = 'emit' | 'exit' | 'reallyExit'

const { EventEmitter } = builtin<typeof import('node:events')>('node:events')

const target = realProcess as unknown as Record<Patchable, AnyFunction>

/**
 * A function of `process` in our place, put back only while it is still the outermost one.
 *
 * Others patch the same functions and put back what they saw, in any order. So a patch that somebody has wrapped
 * becomes a pass-through and stays; one that has vanished is put on again; a spy of a test framework is never
 * wrapped, because its author wants to see the call and nothing else to happen.
 */
export class Patch {
  /** What was there when we came: the function to call in order to go on. */
  inner: AnyFunction
  private readonly pristine: AnyFunction
  private ours: AnyFunction | undefined
  private inherited = false
  private active = false

  /** `around` is called in place of the function, with what to go on with, and decides whether it does. */
  constructor(
    private readonly name: Patchable,
    private readonly around: (inner: AnyFunction, args: unknown[]) => unknown,
  ) {
    this.pristine = this.inner = target[name]
  }

  /** Is our function the outermost one? */
  get intact(): boolean {
    return this.active && target[this.name] === this.ours
  }

  /** Puts the patch on, or on again if it has vanished. Returns whether anything changed. */
  install(): boolean {
    const current = target[this.name]
    this.active = true
    if (this.ours && !this.vanished(current)) return false
    if (isSpy(current)) return false
    const inner = current
    const layer = (...args: unknown[]): unknown =>
      this.active && this.ours === layer ? this.around(inner, args) : inner.apply(realProcess, args)
    this.inner = inner
    this.inherited = !Object.hasOwn(target, this.name)
    this.ours = target[this.name] = layer
    return true
  }

  /** Takes the patch off if it is outermost, else makes it a pass-through. Returns whether it was taken off. */
  uninstall(): boolean {
    this.active = false
    if (!this.ours || target[this.name] !== this.ours) return false
    if (this.inherited) delete (target as Partial<typeof target>)[this.name]
    else target[this.name] = this.inner
    this.ours = undefined
    return true
  }

  /** Has somebody put back what was there before us? Anything unknown is taken for a wrapper around us. */
  private vanished(current: AnyFunction): boolean {
    if (current === this.ours) return false
    return current === this.inner || current === this.pristine || current === EventEmitter.prototype.emit || isNative(current)
  }
}

function isSpy(fn: AnyFunction): boolean {
  return 'mock' in fn || 'isSinonProxy' in fn
}

function isNative(fn: AnyFunction): boolean {
  return /\{\s*\[native code\]\s*\}$/.test(Function.prototype.toString.call(fn))
}

/** Lets `import { exit } from 'node:process'` see what `process.exit` is now. */
export function syncImports(): void {
  builtin<typeof import('node:module')>('node:module').syncBuiltinESMExports()
}
