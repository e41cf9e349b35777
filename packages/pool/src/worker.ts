/**
 * What a file of workers imports. It doesn't load the pool itself, so that workers start fast.
 *
 * @packageDocumentation
 */
import { checkOptions, invalid } from './shared/errors.js'
import { SERVE } from './shared/protocol.js'
import type { WorkerDefinition, WorkerOptions } from './worker/definition.js'
import type { AnyDefinition } from './worker/servant.js'
import { serverOf } from './worker/serve.js'

export type {
  DisposeContext,
  DisposeReason,
  InitContext,
  Task,
  TaskContext,
  Tasks,
  WorkerDefinition,
  WorkerOptions,
} from './worker/definition.js'
export { type Guard, type GuardOptions, guardWorker } from './worker/guard.js'
export type { Receipts } from './worker/receipts.js'

/**
 * Says what a worker is: what it makes when it starts, what it can do, and how it gives back what it has made. To be
 * exported by default from a file of its own, which `createPool` is given.
 *
 * `init` is called once in each worker, and `dispose` once for each `init` that has returned, whichever way the worker
 * goes: its pool closes, is closed by the exit of the program, or replaces it; a task calls `process.exit()`; an error
 * nobody handles; a signal; the parent is gone. Where no asynchronous work can be done any more `disposeSync` is called
 * instead; where no code can run at all (SIGKILL, out of memory, a task that never returns) what `receipt` has written down
 * is done. Throws `ERR_EXODOS_INVALID_ARG` for bad input.
 */
export function defineWorker<Data = unknown, Resource = undefined, T = unknown>(
  options: WorkerOptions<Data, Resource, T>,
): WorkerDefinition<Data, T> {
  checkOptions('defineWorker(options)', options, ['init', 'tasks', 'dispose', 'disposeSync'])
  const { tasks } = options
  for (const key of ['init', 'dispose', 'disposeSync'] as const)
    if (options[key] !== undefined && typeof options[key] !== 'function')
      throw invalid(`options.${key}`, 'a function', options[key])
  if (typeof tasks !== 'object' || tasks === null) throw invalid('options.tasks', 'an object of functions', tasks)
  for (const [name, task] of Object.entries(tasks))
    if (typeof task !== 'function') throw invalid(`options.tasks.${name}`, 'a function', task)
  return Object.freeze({ [SERVE]: serverOf(options as unknown as AnyDefinition) }) as WorkerDefinition<Data, T>
}
