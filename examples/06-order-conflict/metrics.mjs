// Counts what the database does.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('metrics'), { name: 'metrics', after: 'database' })
