import { builtin } from './real.js'

type Publish = (subject: 'run' | 'phase' | 'hook', event: 'start' | 'end' | 'asyncEnd' | 'error', context: object) => void

/** Publishes to Node's tracing channels `exodos:run`, `exodos:phase`, `exodos:hook`; undefined while nobody subscribes. */
export function publisher(): Publish | undefined {
  const { channel } = builtin<typeof import('node:diagnostics_channel')>('node:diagnostics_channel')
  const subscribed = ['run', 'phase', 'hook'].some((subject) =>
    ['start', 'end', 'asyncEnd', 'error'].some((event) => channel(`tracing:exodos:${subject}:${event}`).hasSubscribers),
  )
  if (!subscribed) return undefined
  return (subject, event, context) => channel(`tracing:exodos:${subject}:${event}`).publish(context)
}
