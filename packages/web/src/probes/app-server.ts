import type { HttpServer } from '../input/server.js'
import type { Request, Responder, Response } from './answer.js'

/**
 * Answers probes before the listeners of an app's server see them. Its `emit` is shadowed: one more listener would
 * change what Node, and frameworks, conclude from their number. Returns how to take that back.
 */
export function answerFirst(server: HttpServer, respond: Responder): () => void {
  const target = server as { emit: (event: string, ...args: unknown[]) => boolean }
  const inherited = !Object.hasOwn(server, 'emit')
  const inner = target.emit
  let isOn = true
  const layer = function (this: unknown, event: string, ...args: unknown[]): boolean {
    if (isOn && event === 'request' && respond(args[0] as Request, args[1] as Response)) return true
    return inner.call(this, event, ...args)
  }
  Object.defineProperty(target, 'emit', { value: layer, writable: true, configurable: true })
  return () => {
    isOn = false
    // Somebody else's layer lies above: ours stays, and passes through.
    if (target.emit !== layer) return
    if (inherited) delete (target as Partial<typeof target>).emit
    else Object.defineProperty(target, 'emit', { value: inner, writable: true, configurable: true })
  }
}
