import { onExit } from 'exodos'
onExit(async () => { await 1; console.log('hook') })
await new Promise(() => {})
