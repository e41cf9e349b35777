import { ThreadWorker } from 'poolifier'
import tasks from './tasks.cjs'

// biome-ignore lint/style/noDefaultExport: a pool's workers are found there
export default new ThreadWorker({ ...tasks, move: tasks.echo })
