// A connection as those of databases are: who says goodbye before it hangs up has lost nothing.
import { once } from 'node:events'
import { connect as dial } from 'node:net'

export async function connect(port) {
  const socket = dial(port, '127.0.0.1')
  await once(socket, 'connect')
  return {
    async end() {
      socket.end('goodbye')
      await once(socket, 'close')
    },
  }
}
