import { onExit } from 'exodos'

onExit(() => {})
