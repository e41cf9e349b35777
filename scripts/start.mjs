// `npm start`: a server that leaves in every way there is, and what of it a parent process sees.
import { prepare } from './prepare.mjs'

prepare()
await import('../examples/01-server/show.mjs')
