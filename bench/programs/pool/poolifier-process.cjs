// As CommonJS: it misses what it is told while a module of its own is loaded.
const { ClusterWorker } = require('poolifier')
const tasks = require('./tasks.cjs')

module.exports = new ClusterWorker({ ...tasks })
