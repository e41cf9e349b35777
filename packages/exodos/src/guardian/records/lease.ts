import { closeSync, constants, openSync, unlinkSync } from 'node:fs'
import { builtin } from '../../process/real.js'

const net = () => builtin<typeof import('node:net')>('node:net')

/** Whoever can't see our pid asks here whether we live. Returns how to give it up. */
export function holdLease(dir: string, name: string): () => void {
  const { path, close } = reach(dir, name)
  const server = net().createServer((socket) => socket.destroy())
  // Ours, also in a worker of node:cluster. The directory stays open: in the end Node removes the path that it has listened on.
  const listen = () => server.listen({ path, exclusive: true }).unref()
  server.once('error', async () => {
    server.on('error', close)
    // What was there when the process was replaced by another program.
    if ((await isListenedOn(path)) !== false) return close()
    unlinkSync(path)
    listen()
  })
  listen()
  return () => void server.close(close)
}

/** Whether somebody holds it: the kernel accepts for a process whose loop is blocked, too, as long as it lives. */
export async function isLeaseHeld(dir: string, name: string): Promise<boolean | undefined> {
  const { path, close } = reach(dir, name)
  try {
    return await isListenedOn(path)
  } finally {
    close()
  }
}

/** A socket's path has 107 bytes at most, so it is reached through its directory. */
function reach(dir: string, name: string): { path: string; close: () => void } {
  const fd = openSync(dir, constants.O_RDONLY | constants.O_DIRECTORY)
  return { path: `/proc/self/fd/${fd}/${name}`, close: () => closeSync(fd) }
}

/** Undefined where that can't be known. */
export function isListenedOn(path: string): Promise<boolean | undefined> {
  return new Promise((resolve) => {
    const socket = net().connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // EAGAIN: so many ask that somebody must be there.
    socket.once('error', ({ code }: NodeJS.ErrnoException) =>
      resolve(code === 'ECONNREFUSED' ? false : code === 'EAGAIN' ? true : undefined),
    )
  })
}
