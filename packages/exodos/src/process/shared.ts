import { Coordinator, type CoordinatorProtocol, type Shared } from './coordinator.js'
import { makePlatform } from './platform.js'
import { defaultPolicy } from './policy.js'
import { EventEmitter, realm } from './real.js'

/**
 * One unversioned key, whatever the versions of the copies: two keys make two coordinators, of which one ends the
 * process while the other is still at work. It hangs on `EventEmitter`, the one object that all copies share also
 * where a test framework gives each file its own globals.
 */
const KEY = Symbol.for('exodos')
const holder = EventEmitter as unknown as { [KEY]?: CoordinatorProtocol }

/** Each copy looks once what there is. */
let attached = false

/** The coordinator of this process or worker thread. */
export function coordinator(): CoordinatorProtocol {
  return (attached && holder[KEY]) || attach()
}

/** Puts another coordinator in place until the returned function is called. */
export function replaceCoordinator(by: CoordinatorProtocol): () => void {
  const before = coordinator()
  holder[KEY] = by
  return () => {
    if (holder[KEY] === by) holder[KEY] = before
  }
}

export function freshState(): Shared {
  return { exiting: new AbortController(), realm, host: false, policy: defaultPolicy(), places: new Map() }
}

/** Joins what is there. Takes over, while it is idle, what speaks an older protocol or belongs to a test file that has ended. */
function attach(): CoordinatorProtocol {
  attached = true
  const there = holder[KEY]
  const sameFile = there?.state.realm === realm
  if (there && sameFile && there.protocol >= Coordinator.protocol) return there
  const records = there?.detach()
  if (there && !records) return there
  const state = there && sameFile ? there.state : freshState()
  const ours: Coordinator = new Coordinator(makePlatform, state)
  holder[KEY] = ours
  for (const record of records ?? []) {
    if (!sameFile) record.orphan = true
    ours.add(record)
  }
  return ours
}
