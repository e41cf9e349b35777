import { onExit, configure } from 'exodos'
const mode=process.argv[2]
onExit(async () => { await new Promise(r=>setTimeout(r,30)); console.log('hook') }, {name:'h'})
if (mode==='cut') { configure({ processExit: 'cut' }); process.exit(2) }
if (mode==='exitevent') { process.on('exit', () => process.exit(4)); }
if (mode==='really') process.reallyExit(4)
if (mode==='abort') process.abort()
if (mode==='kill') process.kill(process.pid,'SIGKILL')
if (mode==='usr1') { process.kill(process.pid,'SIGUSR1'); setTimeout(()=>{},100)}
if (mode==='other') process.on('SIGTERM', () => process.exit(0)), process.kill(process.pid,'SIGTERM'), setTimeout(()=>{},100)
if (mode==='signalexit') { (await import('signal-exit')).onExit((c,s)=>console.log('signal-exit hook',c,s)); process.kill(process.pid,'SIGTERM'); setTimeout(()=>{},100) }
if (mode==='whenexit') { (await import('when-exit')).default(()=>console.log('when-exit hook')); process.kill(process.pid,'SIGTERM'); setTimeout(()=>{},100) }
if (mode==='printfalse') { configure({ printError: false }); throw new Error('x') }
if (mode==='printfn') { configure({ printError: (e) => console.log('mine', e.message) }); throw new Error('x') }
if (mode==='sigapp') { configure({ signals: { SIGTERM: 'app' } }); process.kill(process.pid,'SIGTERM'); setTimeout(()=>{},100) }
if (mode==='err7') { process.on('uncaughtException', () => { throw new Error('worse') }); throw new Error('x') }
