import { onExit, exit } from 'exodos'
onExit(() => exit(9), {name:'h'})
onExit(() => exit(8).catch((e)=>console.log(e.code)), {name:'h2'})
process.on('exit', (c) => { console.log('exit event', c); try { onExit(()=>{}, {name:'toolate'}) } catch (e) { console.log(e.code, e.message) } })
