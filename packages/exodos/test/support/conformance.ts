/**
 * The numbers of the statements (C) and exit rows (E) that the behaviour must meet, gaps intended. A test bears its
 * number at the start of its name. What waits for a part of exodos that doesn't exist yet is listed as pending.
 */
const range = (letter: string, ...numbers: (number | [number, number])[]) =>
  numbers
    .flatMap((n) => (typeof n === 'number' ? [n] : Array.from({ length: n[1] - n[0] + 1 }, (_, i) => n[0] + i)))
    .map((n) => `${letter}${n}`)

export const all = [
  ...range('C', [1, 13], 15, 16, [18, 23], [25, 29], [31, 38], [40, 45], [47, 59], 61, 63, 64, [68, 72], 74, [75, 78]),
  ...range('C', [80, 86], 88, 89, [90, 93], [96, 100]),
  ...range('E', [1, 56], [58, 64]),
]

export const pending: Record<string, string[]> = {
  trace: range('C', [98, 100]),
}
