import { expect, test } from 'vitest'
import { startExample } from './support/example.js'

async function startServer() {
  const server = startExample('03-scope-a-request/server.mjs')
  await server.until('http://127.0.0.1:')
  const origin = server.printed().trim()
  const get = async (path: string) => {
    const response = await fetch(origin + path)
    return `${response.status} ${(await response.text()).trim()}`
  }
  return { server, get, origin }
}

test('a scope ends with its request, however that ends', async () => {
  const { server, get, origin } = await startServer()
  expect(await get('/order')).toBe('200 done')
  expect(await get('/fail')).toBe('500 no such order')
  server.kill('SIGTERM')
  const { signal, lines, stderr } = await server.ended
  expect({ signal, lines, stderr }).toEqual({
    signal: 'SIGTERM',
    lines: [origin, '/order: committed', '/order: upload removed', '/fail: rolled back', '/fail: upload removed', 'pool closed'],
    stderr: '',
  })
})

test('the scope of a request under way is closed before what it was built upon', async () => {
  const { server, get, origin } = await startServer()
  const slow = get('/slow').catch((error: Error) => error.message)
  // Answered after the slow one has been taken.
  await get('/order')
  server.kill('SIGTERM')
  const { signal, lines, report } = await server.ended
  expect(await slow).toMatch(/fetch failed|terminated/)
  expect({ signal, lines }).toEqual({
    signal: 'SIGTERM',
    lines: [origin, '/order: committed', '/order: upload removed', '/slow: rolled back', '/slow: upload removed', 'pool closed'],
  })
  expect(report?.hooks.map(({ name, scope, status }) => [...(scope ?? []), name, status].join(' '))).toEqual([
    'server overdue',
    'app /slow transaction ok',
    'app /slow upload ok',
    'app pool ok',
  ])
})
