import { describe, expect, it } from 'vitest'
import { drive, type Load, MIX, type Result } from '../../../bench/web/driver.mjs'
import { node } from '../../exodos/test/support/program.js'

const keepAlive = { 'keep-alive': 90, slow: 5, pipeline: 5 }

/** What is the same for every load that loses nothing. */
const nothingLost = { losses: [], truncated: 0, early: [], stuck: 0, exit: 'SIGTERM', released: { open: 0 }, stderr: '' }

const loads: [claim: string, load: Omit<Load, 'stack'>][] = [
  ['50 users of all kinds', { connections: 50, mix: MIX, answersBefore: 300 }],
  ['400 users that keep their connections', { connections: 400, mix: keepAlive, answersBefore: 1000 }],
]

describe.concurrent('SIGTERM under load', () => {
  it.each(loads)('loses no request of %s', async (_claim, load) => {
    const result = await drive({ stack: 'exodos', node, ...load })
    expect(result).toMatchObject({ ...nothingLost, users: load.connections })
    expect(result.exitMs).toBeLessThan(10_000)
    for (const [kind, { requests }] of Object.entries(result.kinds)) expect([kind, requests]).not.toEqual([kind, 0])
    for (const [kind, { all, well, how }] of endings(result)) {
      expect({ kind, well, how }).toEqual({ kind, well: all, how: {} })
      expect(all).toBeGreaterThan(0)
    }
  })

  // The same load on a server that is only closed: were nothing lost here, the driver could not see losses.
  it('loses some when the server is only closed', async () => {
    const { usersWithLoss } = await drive({
      stack: 'close',
      node,
      connections: 400,
      mix: keepAlive,
      answersBefore: 1000,
      grace: 1000,
    })
    expect(usersWithLoss).toBeGreaterThan(0)
  })
})

/** How connections without an end of their own were ended, of the kinds that the load has. */
const endings = ({ closed, kinds }: Result) =>
  (['ws', 'sse', 'upgrade'] as const).filter((kind) => kinds[kind]).map((kind) => [kind, closed[kind]] as const)
