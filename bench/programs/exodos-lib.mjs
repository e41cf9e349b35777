import { onExit } from 'exodos/lib'

onExit(() => {})
