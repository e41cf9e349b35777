import { drainHttp } from '@exodos/web'
import { configure, onExit } from 'exodos'
import { listen, released, servers } from './app.mjs'

configure({ grace: '10s' })
const made = servers('http', 'https', 'h2c', 'h2')
drainHttp(Object.values(made))
onExit(released, { name: 'release' })
await listen(made)
