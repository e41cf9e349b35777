import type { ReasonKind } from 'exodos'

/** Ways out on which a task may come to its end: the others are its own doing, or nobody waits for it. */
export const PATIENT: readonly ReasonKind[] = ['signal', 'natural']
