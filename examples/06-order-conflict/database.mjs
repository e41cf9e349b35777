// The cache writes into it until it is closed.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('database'), { name: 'database', after: 'cache' })
