import { onExit } from 'signal-exit'

onExit(() => {})
