/** The word that was probably meant: at most two letters away, and not most of a short one. */
export function didYouMean(word: string, words: readonly string[], prefix = ''): string {
  const [nearest] = words.map((known) => ({ known, far: distance(word, known) })).sort((a, b) => a.far - b.far)
  return nearest && nearest.far <= Math.min(2, word.length / 2) ? `; did you mean ${prefix}${nearest.known}?` : ''
}

/** How many letters to add, leave out or change, or neighbours to swap. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)]
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    rows.push(row)
    for (let j = 1; j <= b.length; j++) {
      const change = at(rows, i - 1, j - 1) + Number(a[i - 1] !== b[j - 1])
      row[j] = Math.min(at(rows, i - 1, j) + 1, at(rows, i, j - 1) + 1, change)
      const isSwapped = a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
      if (isSwapped) row[j] = Math.min(row[j] as number, at(rows, i - 2, j - 2) + 1)
    }
  }
  return at(rows, a.length, b.length)
}

function at(rows: number[][], i: number, j: number): number {
  return rows[i]?.[j] ?? Number.POSITIVE_INFINITY
}
