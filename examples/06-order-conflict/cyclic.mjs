// Another cache, which wants to be there for the last line of the log. But the log waits for the database, and that for
// the cache: somebody has to give in, and is told so when the module is loaded.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('cache'), { name: 'cache', after: 'log' })
