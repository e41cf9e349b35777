import { onExit, configure, exit, exiting, track, runExitHooks } from 'exodos'
const t = async (n, f) => { try { console.log(n, await f()) } catch (e) { console.log(n, e.constructor.name, e.name, e.code, e.message) } }
await t('arg', () => onExit(3))
await t('phase', () => onExit(()=>{}, {phase:'x'}))
await t('timeout', () => onExit(()=>{}, {timeout:'soon'}))
await t('exit', () => exit('1'))
await t('cfg', () => configure({ grase: 1 }))
await t('cfg2', () => configure({ signals: { SIGUSR1: 'app' } }))
configure({ grace: '5s' })
configure({ grace: 5000 })
await t('cfg3', () => configure({ grace: '6s' }))
onExit(()=>{}, {name:'a', after:'b'}); onExit(()=>{}, {name:'b', after:'c'})
await t('cycle', () => onExit(()=>{}, {name:'c', after:'a'}))
onExit(async () => { await t('self', () => runExitHooks()); await t('selfexit', () => exit(9)) }, {name:'selfish'})
onExit(async (ctx) => { await new Promise(r=>ctx.signal.addEventListener('abort', r)); console.log(ctx.signal.reason.name, ctx.signal.reason.code, ctx.signal.reason.message) }, {name:'slow', timeout: 50})
await t('run', async () => { const r = await runExitHooks(); return [r.hooks.length, r.exit, r.reasons] })
console.log('exiting', exiting.aborted)
onExit(() => {setTimeout(() => { try { onExit(()=>{}, {name:'toolate'}) } catch (e) { console.log(e.code, e.message) } }, 0)})
EXITW: { }
