// Sales to report on, made up; and the reports.
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import sqlite from 'node-sqlite3-wasm'

/** The database in a directory, which is made if there is none. */
export function salesIn(directory) {
  const path = join(directory, 'sales.db')
  if (existsSync(path)) return path
  mkdirSync(directory, { recursive: true })
  const database = new sqlite.Database(path)
  database.exec('CREATE TABLE sales (month INTEGER, region TEXT, product TEXT, amount INTEGER)')
  database.exec(`WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 6000)
    INSERT INTO sales SELECT i % 12 + 1, substr('northsoutheast west ', i % 4 * 5 + 1, 5), 'product ' || (i * i % 7), i * 37 % 500 FROM n`)
  database.close()
  return path
}

const by = (column) => `SELECT ${column} AS name, sum(amount) AS total FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT 1`

export const reports = [
  { title: 'best region', sql: by('trim(region)') },
  { title: 'best product', sql: by('product') },
  { title: 'best month', sql: by('month') },
  ...['north', 'south', 'east', 'west'].map((region) => ({
    title: `best product, ${region}`,
    sql: `SELECT product AS name, sum(amount) AS total FROM sales WHERE trim(region) = ? GROUP BY 1 ORDER BY 2 DESC LIMIT 1`,
    values: [region],
  })),
]

/** A mistake in a report, as it happens: nothing ends this one. */
export const endless = {
  title: 'endless',
  sql: 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS total FROM n',
}
