// Takes no more requests before anything is given back.
import { closeOnExit } from 'exodos'
import { resource } from './resource.mjs'

closeOnExit(resource('server'), { name: 'server', phase: 'drain' })
