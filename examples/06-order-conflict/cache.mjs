// Writes its last entries into the database: it doesn't say so, the database does.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('cache'), { name: 'cache' })
