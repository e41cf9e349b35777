import { type HookRecord, PHASES, type Phase } from './hook.js'
import { type Hook, Stack } from './order.js'

/** The root scope: all hooks of a process or worker thread, phase by phase. */
export class RootScope {
  /** Hooks registered and not yet called. */
  size = 0
  private readonly stacks = Object.fromEntries(
    PHASES.map((phase) => [
      phase,
      new Stack((change, record) => {
        this.size += change
        if (this.size === 0) this.onEmpty(record)
      }),
    ]),
  ) as Record<Phase, Stack>

  /** `onEmpty` is called with the last one when it is gone. */
  constructor(private readonly onEmpty: (last: HookRecord) => void) {}

  /** Adds a hook to its phase, or to the one named. Throws `ERR_EXODOS_CYCLE`. */
  add(record: HookRecord, phase: Phase = record.phase): Hook {
    const hook = (this.stacks[phase] ?? this.stacks.release).add(record)
    if (record.replace) for (const stack of Object.values(this.stacks)) stack.removeNamed(record.name, hook)
    return hook
  }

  stack(phase: Phase): Stack {
    return this.stacks[phase]
  }

  /** Takes all hooks off and returns them, oldest first within a phase and priority, so that adding them again keeps the order. */
  detach(): HookRecord[] {
    const hooks = Object.values(this.stacks).flatMap((stack) => [...stack].reverse())
    return hooks.filter((hook) => hook.remove()).map((hook) => hook.record)
  }
}
