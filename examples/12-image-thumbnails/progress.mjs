// How far it is, on stderr; what has been made, as a table on stdout.
export class Progress {
  rows = []

  constructor(total) {
    this.total = total
  }

  add(row) {
    this.rows.push(row)
    process.stderr.write(`${this.rows.length} of ${this.total}${process.stderr.isTTY ? '\r' : '\n'}`)
  }

  print() {
    console.log('image           size      bytes         thread')
    for (const { image, size, before, after, thread } of this.rows)
      console.log(`${image.padEnd(16)}${size.padEnd(10)}${`${before} → ${after}`.padEnd(14)}${thread}`)
  }
}
