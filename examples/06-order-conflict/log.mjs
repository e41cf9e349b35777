// All of them write into it.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('log'), { name: 'log', after: ['database', 'metrics'] })
